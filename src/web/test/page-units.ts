/** What units.mjs looks at, in one module. */

export { weeklyHours } from '../page/custody/grant.js'
export { strength } from '../page/entry/password.js'
export { asked } from '../page/lib/asked.js'
export { qr } from '../page/lib/qr.js'
export { clock, dayStart, instants, local, span, ticks } from '../page/lib/time.js'
export { all as words } from '../page/lib/words.js'
export { lastNight } from '../page/viewer/jump.js'
export { columns } from '../page/viewer/wall.js'
