/**
 * What this browser keeps: device secrets by login name, the opened roster key over a reload, the session, invitations made.
 *
 * IndexedDB of this origin, in the worker. Secrets are sealed under an AES key that WebCrypto does not give out, made anew
 * for each login; device secrets under another one, which stays. What does not belong: passwords, codes, channel ids, what
 * was opened of recordings. Invariants: {@link Store.leave} wipes the opened key and the session for good; no name is
 * needed to wipe. A copied browser profile is a copied person: DESIGN says so.
 */

import { KeyPair, random, userkey, type Bytes } from '../crypto/index.js'
import type { RememberedInvitation } from '../facade.js'
import { refuse } from './errors.js'
import type { StoredSession } from './session.js'

const NAME = 'peri'
const VERSION = 1
const DEVICES = 'devices'
const INSIDE = 'inside'
const INVITED = 'invited'
const KEYS = 'keys'
/** Invitations that are remembered: as many as an appliance keeps of one person. */
const INVITED_MAX = 1024

interface Sealed {
  readonly key: CryptoKey
  readonly iv: Bytes
  readonly sealed: Bytes
}

/** Who is in, as it is kept over a reload. */
export interface Inside {
  readonly name: string
  readonly account: string
  readonly pair: KeyPair
  readonly session: StoredSession | undefined
}

interface InsideRecord extends Sealed {
  readonly name: string
  readonly account: string
  readonly session: StoredSession | undefined
}

/** See the file. */
export class Store {
  readonly #db: IDBDatabase

  private constructor(db: IDBDatabase) {
    this.#db = db
  }

  /** Opens it; refuses with `no_store` where a browser keeps nothing. */
  static async open(): Promise<Store> {
    try {
      const opening = indexedDB.open(NAME, VERSION)
      opening.onupgradeneeded = () => {
        for (const store of [DEVICES, INSIDE, INVITED, KEYS]) opening.result.createObjectStore(store)
      }
      return new Store(await done(opening))
    } catch {
      const detail = 'this browser keeps nothing for this page; leave private browsing, or allow site data for it'
      throw refuse('no_store', 'Nothing can be kept', detail)
    }
  }

  /** Login names whose device secret is here. */
  async known(): Promise<string[]> {
    const keys = await this.#read(DEVICES, store => store.getAllKeys())
    return keys.filter(key => typeof key === 'string').sort()
  }

  /** The device secret of a login name. */
  async deviceSecret(name: string): Promise<Bytes | undefined> {
    const record = (await this.#read(DEVICES, store => store.get(name))) as Sealed | undefined
    return record && unseal(record)
  }

  /** Keeps one. */
  async keepDeviceSecret(name: string, secret: Bytes): Promise<void> {
    const record = await seal(secret)
    await this.#write(DEVICES, store => store.put(record, name))
  }

  async forgetDevice(name: string): Promise<void> {
    await this.#write(DEVICES, store => store.delete(name))
  }

  /** Keeps who is in over a reload. */
  async enter(name: string, account: string, pair: KeyPair): Promise<void> {
    const secret = pair.secretBytes()
    const sealed = await seal(secret)
    secret.fill(0)
    await this.#write(INSIDE, store => store.put({ ...sealed, name, account, session: undefined } as InsideRecord, 'me'))
  }

  /** Keeps the session of whoever is in, unless another page let somebody else in meanwhile. */
  async keepSession(name: string, session: StoredSession): Promise<void> {
    const record = (await this.#read(INSIDE, store => store.get('me'))) as InsideRecord | undefined
    if (record?.name === name) await this.#write(INSIDE, store => store.put({ ...record, session }, 'me'))
  }

  /** Who is in. */
  async inside(): Promise<Inside | undefined> {
    const record = (await this.#read(INSIDE, store => store.get('me'))) as InsideRecord | undefined
    if (!record) return undefined
    const secret = await unseal(record)
    if (!secret) return undefined
    const pair = await KeyPair.fromSecretBytes(secret)
    secret.fill(0)
    return { name: record.name, account: record.account, pair, session: record.session }
  }

  /** Wipes the opened key and the session. */
  async leave(): Promise<void> {
    await this.#write(INSIDE, store => store.clear())
  }

  /** A key that is being enrolled, wrapped under its device secret alone, so that a broken enrolment goes on with it. */
  async enrolling(invitation: string): Promise<KeyPair | undefined> {
    const record = (await this.#read(KEYS, store => store.get(invitation))) as Sealed | undefined
    const secret = record && (await unseal(record))
    if (!secret) return undefined
    const pair = await KeyPair.fromSecretBytes(secret)
    secret.fill(0)
    return pair
  }

  async keepEnrolling(invitation: string, pair: KeyPair): Promise<void> {
    const secret = pair.secretBytes()
    const sealed = await seal(secret)
    secret.fill(0)
    await this.#write(KEYS, store => store.put(sealed, invitation))
  }

  async enrolled(invitation: string): Promise<void> {
    await this.#write(KEYS, store => store.delete(invitation))
  }

  /** Invitations made here by this key, newest last. */
  async invited(by: string): Promise<RememberedInvitation[]> {
    return ((await this.#read(INVITED, store => store.get(by))) as RememberedInvitation[] | undefined) ?? []
  }

  async keepInvited(by: string, all: readonly RememberedInvitation[]): Promise<void> {
    await this.#write(INVITED, store => store.put(all.slice(-INVITED_MAX), by))
  }

  async #read<T>(name: string, run: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
    return done(run(this.#db.transaction(name, 'readonly').objectStore(name)))
  }

  async #write(name: string, run: (store: IDBObjectStore) => IDBRequest): Promise<void> {
    const change = this.#db.transaction(name, 'readwrite', { durability: 'strict' })
    run(change.objectStore(name))
    await new Promise<void>((resolve, reject) => {
      change.oncomplete = () => resolve()
      change.onabort = change.onerror = () => {
        const why = change.error?.message ?? 'unknown'
        reject(refuse('no_store', 'Nothing can be kept', `this browser could not store it (${why}); free some space`))
      }
    })
  }
}

/** Sealed under a key of its own that is never given out. */
async function seal(secret: Bytes): Promise<Sealed> {
  const key = await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt'])
  const iv = random(12)
  return { key, iv, sealed: new Uint8Array(await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, secret)) }
}

async function unseal({ key, iv, sealed }: Sealed): Promise<Bytes | undefined> {
  const opened = await crypto.subtle.decrypt({ name: 'AES-GCM', iv }, key, sealed).catch(() => undefined)
  return opened && new Uint8Array(opened)
}

function done<T>(asked: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result)
    asked.onerror = () => reject(asked.error ?? new Error('IndexedDB'))
  })
}

/** A device secret of a name, made where there is none yet. */
export async function deviceSecretOf(store: Store, name: string): Promise<Bytes> {
  const known = await store.deviceSecret(name)
  if (known) return known
  const made = userkey.newDeviceSecret()
  await store.keepDeviceSecret(name, made)
  return made
}
