/** Names for ids of a house: who holds a key, what a camera is called, what rights and roles read like. */

import { unhex } from '../../crypto/bytes.js'
import { words } from '../../crypto/words.js'
import type { House, MyRights, Role, Standing } from '../../engine.js'
import { t, type Key } from './words.js'

export const roleName = (role: Role): string => t(`role.${role}` as Key)

export const standingName = (me: Standing): string =>
  me.kind === 'account' ? roleName(me.role) : t(me.kind === 'seat' ? 'role.custodian' : 'role.claim')

/** Ten words of a fingerprint. */
export const tenWords = (key: string): readonly string[] => words(unhex(key))

export const rightsText = (rights: MyRights): string =>
  (['live', 'playback', 'export'] as const)
    .filter(right => rights[right])
    .map(right => t(`right.${right}` as Key))
    .join(', ')

export const cameraName = (house: House, id: string): string =>
  house.cameras.find(camera => camera.id === id)?.name ?? `${id.slice(0, 8)}…`

export const camerasText = (house: House, cameras: readonly string[] | 'all' | null): string =>
  cameras === null || cameras === 'all' ? t('fact.allcameras') : cameras.map(id => cameraName(house, id)).join(', ')

export const accountName = (house: House, id: string): string =>
  house.accounts.find(account => account.id === id)?.name ?? `${id.slice(0, 8)}…`

/** Who holds a key, as a seat or an account. */
export function holder(house: House, key: string): string {
  const seat = house.seats.find(one => one.key === key)
  if (seat) return t('proposals.seat', { n: seat.index + 1, name: seat.name })
  const account = house.accounts.find(one => one.key === key)
  return account ? `${account.name} (${roleName(account.role)})` : `${t('proposals.unknown')} ${key.slice(0, 16)}`
}
