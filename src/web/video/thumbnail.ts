/**
 * One picture of a recording: the key picture at or before a time, decoded by WebCodecs.
 *
 * What does not belong: playing. Invariants: one fragment is opened; a decoder lives as long as its picture; at most
 * {@link AT_ONCE} pictures are decoded at once.
 */

import type { Thumbnail } from '../facade.js'
import { refuse } from '../session/errors.js'
import type { Keys } from './keys.js'
import { FragmentCache } from './cache.js'
import { format, HZ, media } from './mp4.js'
import { RecordingReader } from './reader.js'

const AT_ONCE = 2

/** See the file. */
export class Thumbnails {
  readonly #keys: Keys
  readonly #cache: FragmentCache
  #running = 0
  readonly #waiting: (() => void)[] = []

  constructor(keys: Keys, cache: FragmentCache) {
    this.#keys = keys
    this.#cache = cache
  }

  /** The picture. */
  async of(camera: string, at: bigint, width: number): Promise<Thumbnail> {
    if (this.#running >= AT_ONCE) await new Promise<void>(resolve => this.#waiting.push(resolve))
    this.#running++
    try {
      const reader = new RecordingReader(this.#keys, this.#cache, camera, at - 86_400_000_000_000n, 1)
      const loaded = await reader.load({ camera, origin: 0n, from: at, keyOnly: true })
      const part = loaded.parts[0]
      if (!part?.init) {
        const why = loaded.gap?.lapsed ?? (loaded.gap?.cause || 'nothing was recorded at this time')
        throw refuse(loaded.gap?.lapsed === undefined ? 'nothing' : 'no_grant', 'No picture here', why)
      }
      return { image: await decode(part.init, part.data, width), utc: part.pictures[0]! }
    } finally {
      this.#running--
      this.#waiting.shift()?.()
    }
  }
}

/** The first picture of a fragment. */
async function decode(init: Uint8Array, data: Uint8Array, width: number): Promise<ImageBitmap> {
  if (typeof VideoDecoder === 'undefined') {
    throw refuse('unsupported', 'No preview', 'this browser has no WebCodecs; play the recording instead')
  }
  const { codec, description, width: full, height } = format(init)
  const config = { codec, description, codedWidth: full, codedHeight: height, optimizeForLatency: true }
  const { supported } = await VideoDecoder.isConfigSupported(config)
  if (!supported) throw refuse('unsupported', 'No preview', `this browser cannot decode ${codec}`)
  const { payload, samples } = media(data)
  const picture = data.subarray(payload, payload + samples[0]!.size)
  let decoder: VideoDecoder | undefined
  try {
    const frame = await new Promise<VideoFrame>((resolve, reject) => {
      decoder = new VideoDecoder({ output: resolve, error: reject })
      decoder.configure(config)
      const duration = (samples[0]!.duration * 1_000_000) / HZ
      decoder.decode(new EncodedVideoChunk({ type: 'key', timestamp: 0, duration, data: picture }))
      decoder.flush().then(() => reject(new Error('the decoder gave no picture')), reject)
    })
    try {
      const resizeWidth = Math.max(1, Math.min(width, frame.displayWidth))
      const resizeHeight = Math.max(1, Math.round((frame.displayHeight * resizeWidth) / frame.displayWidth))
      return await createImageBitmap(frame, { resizeWidth, resizeHeight, resizeQuality: 'medium' })
    } finally {
      frame.close()
    }
  } finally {
    if (decoder && decoder.state !== 'closed') decoder.close()
  }
}
