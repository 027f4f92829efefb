/**
 * The suite in a browser: asks its own server for the vectors and for what to make, runs everything, hands the results back.
 */

import { made, suite, VECTOR_FILES } from './suite.js'

const violations: string[] = []
addEventListener('securitypolicyviolation', event =>
  violations.push(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`),
)

async function json(path: string): Promise<any> {
  const answer = await fetch(path)
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`)
  return answer.json()
}

async function all(): Promise<unknown> {
  const vectors = new Map<string, any>()
  for (const file of VECTOR_FILES) vectors.set(file, await json(`/vectors/${file}.json`))
  const results: { name: string; error?: string }[] = []
  for (const { name, run } of suite(vectors)) {
    try {
      await run()
      results.push({ name })
    } catch (error) {
      results.push({ name, error: String(error) })
    }
  }
  const order = await json('/order')
  return { results, violations, made: await made(order) }
}

void all()
  .catch((error: unknown) => ({ results: [{ name: 'the suite runs', error: String(error) }], violations }))
  .then(body => fetch('/results', { method: 'POST', body: JSON.stringify(body) }))
