/**
 * Icons, drawn by hand on a grid of 24 with strokes of 1.75. They carry no meaning of their own: a text stands beside
 * each, or the control has a name.
 */

const PATHS = {
  play: 'M8 5.5v13l10.5-6.5z',
  pause: 'M8.5 6v12M15.5 6v12',
  back: 'M15 5l-7 7 7 7',
  forth: 'M9 5l7 7-7 7',
  back10: 'M5 8.5A8 8 0 1 1 4 13M5 4v4.5h4.5M10.5 11v5M14.5 11v5',
  forth10: 'M19 8.5A8 8 0 1 0 20 13M19 4v4.5h-4.5M9.5 11v5M13.5 11v5',
  frameBack: 'M17 6v12l-8-6zM6 6v12',
  frameForth: 'M7 6v12l8-6zM18 6v12',
  live: 'M12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM7.4 7.4a6.5 6.5 0 0 0 0 9.2M16.6 7.4a6.5 6.5 0 0 1 0 9.2M4.6 4.6a10.5 10.5 0 0 0 0 14.8M19.4 4.6a10.5 10.5 0 0 1 0 14.8',
  calendar: 'M4.5 6.5h15v13h-15zM4.5 10.5h15M8.5 4v4M15.5 4v4',
  clock: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM12 7.5V12l3 2',
  night: 'M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4',
  half: 'M12 3.5a8.5 8.5 0 1 0 0 17zM12 3.5a8.5 8.5 0 0 1 0 17',
  save: 'M12 4v10.5M7.5 10.5L12 15l4.5-4.5M5 19.5h14',
  close: 'M6 6l12 12M18 6L6 18',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  warn: 'M12 4L2.8 19.5h18.4zM12 10v4.5M12 17v.2',
  bad: 'M8.3 3.5h7.4l4.8 4.8v7.4l-4.8 4.8H8.3l-4.8-4.8V8.3zM12 7.5v5.5M12 16v.2',
  info: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM12 11v5M12 7.8v.2',
  lock: 'M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3M12 14.5v2',
  out: 'M10 4.5H5v15h5M10 12h10M16.5 8l4 4-4 4',
  away: 'M4 4l16 16M8.5 8.2A6 6 0 0 0 6.6 12 4 4 0 0 0 7 19.5h10M10.5 6.3A6 6 0 0 1 18 11.6a4 4 0 0 1 1.6 6',
  camera: 'M3.5 7.5h11v9h-11zM14.5 11l6-3v8l-6-3z',
  cameraOff: 'M3 3l18 18M7.5 7.5h7v6M14.5 11l6-3v8l-3-1.5M5.5 7.5h-2v9h11v-.5',
  wall: 'M4 5h7v6H4zM13 5h7v6h-7zM4 13h7v6H4zM13 13h7v6h-7z',
  people:
    'M9 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM3.5 19a5.5 5.5 0 0 1 11 0M16 5.4a3 3 0 0 1 0 5.2M17 13.8a5.5 5.5 0 0 1 3.5 5.2',
  key: 'M8 8.5a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 12.5h9M18 12.5v3.5M15 12.5v2.5',
  pen: 'M4.5 19.5l1-4.5L16 4.5l3.5 3.5L9 18.5zM13.5 7l3.5 3.5',
  heart: 'M3 12.5h4l2.5-6 4 12 2.5-6h5',
  book: 'M5 4.5h11.5A2.5 2.5 0 0 1 19 7v12.5H7.5A2.5 2.5 0 0 1 5 17zM5 17a2.5 2.5 0 0 1 2.5-2.5H19M9 8.5h6',
  gear: 'M4 7h9M17 7h3M15 5v4M4 12h3M11 12h9M9 10v4M4 17h9M17 17h3M15 15v4',
  help: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM9.5 9.8a2.6 2.6 0 1 1 3.6 2.4c-.8.4-1.1.9-1.1 1.8M12 16.8v.2',
  print: 'M7 9V4h10v5M7 16H4.5V9h15v7H17M7 13.5h10V20H7z',
  copy: 'M8.5 8.5h11v11h-11zM15.5 8.5v-4h-11v11h4',
  add: 'M12 5v14M5 12h14',
  spin: 'M12 3.5a8.5 8.5 0 1 0 8.5 8.5',
  refresh: 'M19 8.5A8 8 0 1 0 20 13M19 4v4.5h-4.5',
  full: 'M4.5 9V4.5H9M15 4.5h4.5V9M19.5 15v4.5H15M9 19.5H4.5V15',
  markIn: 'M14 5H9v14h5M9 12h7',
  markOut: 'M10 5h5v14h-5M15 12H8',
  menu: 'M4 7h16M4 12h16M4 17h16',
  eye: 'M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 9.3a2.7 2.7 0 1 0 0 5.4 2.7 2.7 0 0 0 0-5.4z',
  trash: 'M4.5 6.5h15M9 6.5v-2h6v2M6.5 6.5l1 13h9l1-13M10 10v6M14 10v6',
} as const

export type IconName = keyof typeof PATHS

const FILLED: ReadonlySet<IconName> = new Set<IconName>(['play', 'frameBack', 'frameForth'])

export function Icon({ name, size = 20, class: of }: { name: IconName; size?: number; class?: string }) {
  return (
    <svg
      class={of}
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill={FILLED.has(name) ? 'currentColor' : 'none'}
      stroke="currentColor"
      stroke-width="1.75"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[name]} />
    </svg>
  )
}

/** The mark of the product. */
export function Mark({ size = 26 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 24 24" fill="none" aria-hidden="true">
      <path d="M12 3.2a8.8 8.8 0 1 1-6.2 2.6" stroke="var(--accent)" stroke-width="2.2" stroke-linecap="round" />
      <circle cx="12" cy="12" r="3.7" fill="currentColor" />
    </svg>
  )
}
