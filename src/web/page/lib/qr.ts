/**
 * QR codes (ISO/IEC 18004) for links: bytes, error correction M, versions 1 to 10.
 *
 * What does not belong: drawing. Invariant: what does not fit 213 bytes gives no code rather than a wrong one.
 */

/** Codewords of correction in each block, and blocks, for level M by version. */
const CORRECTION = [10, 16, 26, 18, 24, 16, 18, 22, 22, 26]
const BLOCKS = [1, 1, 1, 2, 2, 4, 4, 4, 5, 5]

/** Codewords of a version, data and correction together. */
function codewords(version: number): number {
  let bits = (16 * version + 128) * version + 64
  if (version >= 2) {
    const marks = Math.floor(version / 7) + 2
    bits -= (25 * marks - 10) * marks - 55
    if (version >= 7) bits -= 36
  }
  return bits >> 3
}

const dataOf = (version: number): number => codewords(version) - CORRECTION[version - 1]! * BLOCKS[version - 1]!

/** Product in GF(2^8) modulo 0x11d. */
function times(x: number, y: number): number {
  let z = 0
  for (let bit = 7; bit >= 0; bit--) {
    z = (z << 1) ^ ((z >>> 7) * 0x11d)
    z ^= ((y >>> bit) & 1) * x
  }
  return z
}

function correction(data: readonly number[], degree: number): number[] {
  const divisor: number[] = Array(degree).fill(0)
  divisor[degree - 1] = 1
  let root = 1
  for (let n = 0; n < degree; n++) {
    for (let at = 0; at < degree; at++) {
      divisor[at] = times(divisor[at]!, root) ^ (divisor[at + 1] ?? 0)
    }
    root = times(root, 2)
  }
  const rest: number[] = Array(degree).fill(0)
  for (const byte of data) {
    const factor = byte ^ rest.shift()!
    rest.push(0)
    divisor.forEach((value, at) => (rest[at]! ^= times(value, factor)))
  }
  return rest
}

function message(bytes: Uint8Array, version: number): number[] {
  const bits: number[] = []
  const put = (value: number, length: number) => {
    for (let bit = length - 1; bit >= 0; bit--) bits.push((value >>> bit) & 1)
  }
  put(4, 4)
  put(bytes.length, version < 10 ? 8 : 16)
  for (const byte of bytes) put(byte, 8)
  const room = dataOf(version) * 8
  put(0, Math.min(4, room - bits.length))
  put(0, (8 - (bits.length % 8)) % 8)
  for (let pad = 0xec; bits.length < room; pad ^= 0xec ^ 0x11) put(pad, 8)
  return Array.from({ length: room / 8 }, (_, at) =>
    bits.slice(at * 8, at * 8 + 8).reduce((sum, bit) => (sum << 1) | bit, 0),
  )
}

/** Blocks of data with their correction, interleaved. */
function interleaved(data: readonly number[], version: number): number[] {
  const blocks = BLOCKS[version - 1]!
  const degree = CORRECTION[version - 1]!
  const total = codewords(version)
  const short = blocks - (total % blocks)
  const shortData = Math.floor(total / blocks) - degree
  const made: { data: number[]; correction: number[] }[] = []
  for (let block = 0, at = 0; block < blocks; block++) {
    const part = data.slice(at, at + shortData + (block < short ? 0 : 1))
    at += part.length
    made.push({ data: part, correction: correction(part, degree) })
  }
  const out: number[] = []
  for (let at = 0; at <= shortData; at++) for (const { data: part } of made) if (at < part.length) out.push(part[at]!)
  for (let at = 0; at < degree; at++) for (const block of made) out.push(block.correction[at]!)
  return out
}

const MASKS: readonly ((x: number, y: number) => number)[] = [
  (x, y) => (x + y) % 2,
  (_, y) => y % 2,
  x => x % 3,
  (x, y) => (x + y) % 3,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2,
  (x, y) => ((x * y) % 2) + ((x * y) % 3),
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
]

class Grid {
  readonly size: number
  readonly dark: boolean[][]
  readonly #fixed: boolean[][]

  constructor(readonly version: number) {
    this.size = version * 4 + 17
    const blank = () => Array.from({ length: this.size }, () => Array<boolean>(this.size).fill(false))
    this.dark = blank()
    this.#fixed = blank()
    this.#draw()
  }

  #set(x: number, y: number, dark: boolean): void {
    if (x < 0 || y < 0 || x >= this.size || y >= this.size) return
    this.dark[y]![x] = dark
    this.#fixed[y]![x] = true
  }

  #draw(): void {
    const { size, version } = this
    for (let at = 0; at < size; at++) {
      this.#set(6, at, at % 2 === 0)
      this.#set(at, 6, at % 2 === 0)
    }
    for (const [cx, cy] of [
      [3, 3],
      [size - 4, 3],
      [3, size - 4],
    ] as const) {
      for (let dy = -4; dy <= 4; dy++) {
        for (let dx = -4; dx <= 4; dx++) {
          const ring = Math.max(Math.abs(dx), Math.abs(dy))
          this.#set(cx + dx, cy + dy, ring !== 2 && ring !== 4)
        }
      }
    }
    const far = version * 4 + 10
    const centres = version === 1 ? [] : version < 7 ? [6, far] : [6, Math.floor(far / 2) + 3, far]
    centres.forEach((cx, i) =>
      centres.forEach((cy, j) => {
        const last = centres.length - 1
        if ((i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0)) return
        for (let dy = -2; dy <= 2; dy++) {
          for (let dx = -2; dx <= 2; dx++) this.#set(cx + dx, cy + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1)
        }
      }),
    )
    this.format(0)
    if (version < 7) return
    let rest = version
    for (let n = 0; n < 12; n++) rest = (rest << 1) ^ ((rest >>> 11) * 0x1f25)
    const bits = (version << 12) | rest
    for (let n = 0; n < 18; n++) {
      const dark = ((bits >>> n) & 1) !== 0
      const [a, b] = [size - 11 + (n % 3), Math.floor(n / 3)]
      this.#set(a, b, dark)
      this.#set(b, a, dark)
    }
  }

  /** Level M has the bits 00. */
  format(mask: number): void {
    let rest = mask
    for (let n = 0; n < 10; n++) rest = (rest << 1) ^ ((rest >>> 9) * 0x537)
    const bits = ((mask << 10) | rest) ^ 0x5412
    const bit = (n: number) => ((bits >>> n) & 1) !== 0
    const { size } = this
    for (let n = 0; n <= 5; n++) this.#set(8, n, bit(n))
    this.#set(8, 7, bit(6))
    this.#set(8, 8, bit(7))
    this.#set(7, 8, bit(8))
    for (let n = 9; n < 15; n++) this.#set(14 - n, 8, bit(n))
    for (let n = 0; n < 8; n++) this.#set(size - 1 - n, 8, bit(n))
    for (let n = 8; n < 15; n++) this.#set(8, size - 15 + n, bit(n))
    this.#set(8, size - 8, true)
  }

  fill(data: readonly number[]): void {
    let at = 0
    for (let right = this.size - 1; right >= 1; right -= 2) {
      if (right === 6) right = 5
      for (let step = 0; step < this.size; step++) {
        const y = ((right + 1) & 2) === 0 ? this.size - 1 - step : step
        for (const x of [right, right - 1]) {
          if (this.#fixed[y]![x] || at >= data.length * 8) continue
          this.dark[y]![x] = ((data[at >>> 3]! >>> (7 - (at & 7))) & 1) !== 0
          at++
        }
      }
    }
  }

  mask(which: number): void {
    const hides = MASKS[which]!
    for (let y = 0; y < this.size; y++) {
      for (let x = 0; x < this.size; x++) {
        if (!this.#fixed[y]![x] && hides(x, y) === 0) this.dark[y]![x] = !this.dark[y]![x]
      }
    }
  }

  /** Runs of five or more, squares of one colour, imbalance: enough to choose a mask that scanners like. */
  penalty(): number {
    let sum = 0
    let dark = 0
    for (let y = 0; y < this.size; y++) {
      for (const at of [(n: number) => this.dark[y]![n]!, (n: number) => this.dark[n]![y]!]) {
        for (let n = 0, run = 0; n < this.size; n++) {
          run = n > 0 && at(n) === at(n - 1) ? run + 1 : 1
          sum += run === 5 ? 3 : run > 5 ? 1 : 0
        }
      }
      for (let x = 0; x < this.size; x++) {
        const colour = this.dark[y]![x]
        dark += colour ? 1 : 0
        if (
          x > 0 &&
          y > 0 &&
          colour === this.dark[y]![x - 1] &&
          colour === this.dark[y - 1]![x] &&
          colour === this.dark[y - 1]![x - 1]
        )
          sum += 3
      }
    }
    return sum + Math.floor(Math.abs(dark / this.size ** 2 - 0.5) * 20) * 10
  }
}

/** Rows of modules, true is dark; `undefined` when the text is too long. */
export function qr(text: string): readonly (readonly boolean[])[] | undefined {
  const bytes = new TextEncoder().encode(text)
  const fits = (version: number) => bytes.length + (version < 10 ? 2 : 3) <= dataOf(version)
  const version = BLOCKS.findIndex((_, at) => fits(at + 1)) + 1
  if (version === 0) return undefined
  const grid = new Grid(version)
  grid.fill(interleaved(message(bytes, version), version))
  let best = { mask: 0, penalty: Infinity }
  for (let mask = 0; mask < 8; mask++) {
    grid.format(mask)
    grid.mask(mask)
    const penalty = grid.penalty()
    if (penalty < best.penalty) best = { mask, penalty }
    grid.mask(mask)
  }
  grid.format(best.mask)
  grid.mask(best.mask)
  return grid.dark
}
