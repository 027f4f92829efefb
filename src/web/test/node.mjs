// The suite in Node: `node --test src/web/test/node.mjs`, after build.mjs.

import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { load } from './load.mjs'

const { suite, VECTOR_FILES } = await load()
const read = file => JSON.parse(readFileSync(new URL(`../../../tests/vectors/${file}.json`, import.meta.url), 'utf8'))
for (const { name, run } of suite(new Map(VECTOR_FILES.map(file => [file, read(file)])))) test(name, run)
