/** Drawn camera pictures for page-kit.ts: a yard by night, a person who walks, the time. */

const SKIES = [
  ['#1d2733', '#3c4854'],
  ['#2b2a26', '#55503f'],
  ['#1a2420', '#3d5146'],
  ['#232029', '#4b4555'],
  ['#2a2f33', '#6a7479'],
  ['#101820', '#2f4457'],
] as const

export function draw(canvas: HTMLCanvasElement, camera: number, at: number): void {
  const context = canvas.getContext('2d')!
  const { width, height } = canvas
  const [dark, light] = SKIES[camera % SKIES.length]!
  const sky = context.createLinearGradient(0, 0, 0, height)
  sky.addColorStop(0, dark)
  sky.addColorStop(1, light)
  context.fillStyle = sky
  context.fillRect(0, 0, width, height)
  context.fillStyle = 'rgb(0 0 0 / 35%)'
  context.fillRect(0, height * 0.18, width * (0.25 + (camera % 3) * 0.12), height * 0.5)
  context.fillStyle = 'rgb(255 255 255 / 7%)'
  context.beginPath()
  context.moveTo(width * 0.35, height * 0.55)
  context.lineTo(width * 0.65, height * 0.55)
  context.lineTo(width * 1.1, height)
  context.lineTo(width * -0.1, height)
  context.fill()
  context.strokeStyle = 'rgb(255 255 255 / 16%)'
  context.lineWidth = width / 200
  for (let line = 0; line < 5; line++) {
    context.beginPath()
    context.moveTo(width * (0.4 + line * 0.05), height * 0.55)
    context.lineTo(width * (-0.05 + line * 0.27), height)
    context.stroke()
  }
  const x = ((at / 9000 + camera * 0.37) % 1) * width
  const size = height * 0.19
  context.fillStyle = 'rgb(12 14 16 / 90%)'
  context.beginPath()
  context.arc(x, height * 0.55 + size * 0.12, size * 0.13, 0, 7)
  context.fill()
  context.fillRect(x - size * 0.13, height * 0.55 + size * 0.27, size * 0.26, size * 0.5)
  const step = Math.sin(at / 160) * size * 0.12
  context.fillRect(x - size * 0.11 + step, height * 0.55 + size * 0.75, size * 0.09, size * 0.4)
  context.fillRect(x + size * 0.03 - step, height * 0.55 + size * 0.75, size * 0.09, size * 0.4)
}
