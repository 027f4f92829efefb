/**
 * What somebody can do in the console of the page he is in: asks the appliance with the key and the session that this browser
 * keeps, past everything that the page itself would not ask. portal.mjs puts it into the real page.
 *
 * What does not belong: anything of the product. Invariant: it holds no more than the page's own origin gives to any script.
 */

import { request, unhex } from '../crypto/index.js'
import { hello } from '../session/door.js'
import { EngineError } from '../session/errors.js'
import { Session } from '../session/session.js'
import { Store } from '../session/store.js'
import { parseSegments } from '../session/wire.js'

const WATCHER = { locked() {}, ended() {}, reached() {}, keep() {} }

async function session(): Promise<Session> {
  const me = await (await Store.open()).inside()
  if (!me) throw new Error('nobody is in')
  return new Session((await hello()).vm, me.pair, WATCHER, me.session)
}

/** Epochs of a span with their starts in milliseconds, as this account is told of them. */
async function epochs(camera: string, from: number, until: number): Promise<{ epoch: string; starts: number }[]> {
  const body = request.spanBody(unhex(camera), BigInt(from) * 1_000_000n, BigInt(until) * 1_000_000n, 'playback')
  const { segments } = parseSegments((await (await session()).request('segments', body)).bytes)
  return segments.map(one => ({ epoch: String(one.epoch), starts: Number(one.starts / 1_000_000n) }))
}

/** Asks for X and for sealed bytes of an epoch, for every action; `what: status code`, or `what: given`. */
async function knock(camera: string, epoch: string): Promise<string[]> {
  const mine = await session()
  const [where, which] = [unhex(camera), BigInt(epoch)]
  const said: string[] = []
  const ask = async (what: string, asked: () => Promise<unknown>): Promise<void> => {
    try {
      await asked()
      said.push(`${what}: given`)
    } catch (error) {
      const { status, code } = EngineError.from(error)
      said.push(`${what}: ${status} ${code}`)
    }
  }
  for (const action of request.ACTIONS) {
    const open = request.openBody(where, action === 'live' ? [] : [which], action, 'curiosity')
    await ask(`open ${action}`, () => mine.request('open', open))
    const fetched = request.fetchBody(where, which, 0n, 65536n, false, action)
    await ask(`fetch ${action}`, async () => (await mine.fetch(fetched)).next())
  }
  return said
}

Object.assign(globalThis, { probe: { epochs, knock } })
