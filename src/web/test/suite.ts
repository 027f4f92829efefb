/**
 * The suite that Node and the browser run alike: list of named cases, each a function that throws when it fails.
 *
 * What does not belong: how cases are run and reported (run.mjs, page.ts).
 */

import { attacks } from './attacks.js'
import { made } from './made.js'
import { pictures } from './pictures.js'
import { recordings } from './recordings.js'
import { sessions } from './sessions.js'
import { watching } from './watching.js'
import { vectorCases, type VectorFile } from './vectors.js'

/** One case. */
export interface Case {
  readonly name: string
  readonly run: () => Promise<void>
}

/** Names of the files in `tests/vectors`. */
export { VECTOR_FILES } from './vectors.js'

/** Everything that is to run, given the vectors by name. */
export function suite(vectors: ReadonlyMap<string, VectorFile>): Case[] {
  return [...vectorCases(vectors), ...attacks(), ...sessions(), ...pictures(), ...recordings(), ...watching()]
}

/** What this implementation makes for the other one to open. */
export { made }
