/**
 * Start of the page: takes an invitation out of the address, starts the engine, shows the app.
 *
 * What does not belong: anything that is shown (app.tsx). Invariant: the fragment of an invitation is out of the
 * address, and so out of the history, before anything else happens.
 */

import { Engine } from '../engine.js'
import { takeFragment } from './lib/fragment.js'
import { mount, mountFailure } from './mount.js'

const fragment = takeFragment()
Engine.start().then(engine => mount(engine, fragment), mountFailure)
