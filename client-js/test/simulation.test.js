import assert from 'node:assert/strict'
import test from 'node:test'

import { simulate } from './simulate.js'

// PUSHD_SEED=17 replays one; PUSHD_RUNS=10000 looks longer.
const RUNS = Number(process.env.PUSHD_RUNS ?? 2_000)
const SEED = process.env.PUSHD_SEED

test(`${SEED ? 1 : RUNS} runs against a faulty server: nothing lost, nothing twice, in order`, async () => {
  let messages = 0
  let resets = 0
  const first = Number(SEED ?? 0)
  for (let seed = first; seed < first + (SEED ? 1 : RUNS); seed++) {
    const seen = await simulate(seed)
    messages += seen.messages
    resets += seen.resets
    assert.ok(seen.listeners < 20, `${seen.listeners} listeners are left`)
  }
  assert.ok(messages > 0)
  console.log({ messages, resets })
})
