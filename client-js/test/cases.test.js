import { readFileSync, readdirSync } from 'node:fs'
import test from 'node:test'

import { play } from './play.js'

// What every client does, whatever it is written in: docs/your-own-client.md.
const CASES = new URL('../../cases/', import.meta.url)

for (const file of readdirSync(CASES).filter((name) => name.endsWith('.json')).sort()) {
  for (const given of JSON.parse(readFileSync(new URL(file, CASES), 'utf8')).cases) {
    test(`${file}: ${given.name}`, () => play(given))
  }
}
