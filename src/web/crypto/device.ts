/**
 * What a client seals to the device key: camera passwords. Twin of `src/seal/device.rs`; only the appliance opens them.
 */

import { concat, utf8, type Bytes } from './bytes.js'
import { labelled } from './digest.js'
import { demand } from './errors.js'
import * as hpke from './hpke.js'
import type { UserPublic } from './keys.js'

/** Longest secret sealed to a device, as in `src/domain/limits.rs`. */
export const DEVICE_SECRET_BYTES_MAX = 4 * 1024

/** What a camera's password is sealed for; bound as AAD. */
export const cameraPassword = (camera: Bytes): Bytes => concat(utf8('camera-password\0'), camera)

/** HPKE `info` of everything that is sealed to this device. */
export const deviceInfo = (device: UserPublic): Bytes => labelled('to-device', device.fingerprint)

/** Seals a value to the device for one purpose. */
export async function sealToDevice(
  device: UserPublic,
  purpose: Bytes,
  plaintext: Bytes,
  by?: hpke.Provider,
): Promise<Bytes> {
  const { length } = plaintext
  const fits = length <= DEVICE_SECRET_BYTES_MAX
  demand(fits, 'too_long', `${length} bytes are too long to be sealed to a device; at most 4,096 are possible`)
  return hpke.seal(device.hpke, deviceInfo(device), purpose, plaintext, by)
}
