// Prints what this implementation makes for the order given as JSON: `node src/web/test/make.mjs '{"context":"…"}'`.

import { load } from './load.mjs'

const { made } = await load()
console.log(JSON.stringify(await made(JSON.parse(process.argv[2]))))
