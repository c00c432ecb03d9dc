import assert from 'node:assert/strict'
import test from 'node:test'

import { SharedHints } from '../src/tabs.js'
import { Clock, randomOf } from './clock.js'

/** One browser: locks, channels between tabs, and tabs that can be frozen. */
class Browser {
  clock = new Clock()
  random = randomOf(7)
  connected = new Set()
  #channels = new Set()
  #queue = []
  #holder

  locks = {
    request: (_name, { signal }, run) => new Promise((resolve, reject) => {
      const entry = { run, resolve, reject }
      this.#queue.push(entry)
      signal.addEventListener('abort', () => {
        const at = this.#queue.indexOf(entry)
        if (at >= 0) this.#queue.splice(at, 1)
        reject(signal.reason)
      })
      this.#grant()
    })
  }

  #grant() {
    if (this.#holder || !this.#queue.length) return
    const entry = (this.#holder = this.#queue.shift())
    const end = () => {
      this.#holder = undefined
      this.#grant()
    }
    this.release = end
    entry.run().then(entry.resolve, entry.reject).finally(end)
  }

  /** A page of another version, say, that has the lock and never says a word. */
  hold() {
    this.#queue.unshift({ run: () => new Promise(() => {}), resolve() {}, reject() {} })
    this.#grant()
  }

  channel(tab) {
    const browser = this
    return class {
      constructor() {
        browser.#channels.add(this)
        this.tab = tab
        this.late = []
      }
      postMessage(message) {
        const data = structuredClone(message)
        for (const other of browser.#channels) if (other !== this) browser.clock.setTimeout(() => other.take(data), 1)
      }
      take(data) {
        if (this.tab.frozen) this.tab.late.push(() => this.onmessage({ data }))
        else if (browser.#channels.has(this)) this.onmessage({ data })
      }
      close() {
        browser.#channels.delete(this)
      }
    }
  }

  open(name) {
    return new Tab(this, name)
  }

  pass(seconds) {
    return this.clock.run(this.clock.now + seconds * 1000)
  }
}

class Tab {
  frozen = false
  late = []
  state = 'connecting'
  hints = []
  #close = new AbortController()

  constructor(browser, name) {
    const { clock } = browser
    const env = {
      now: () => clock.now, random: browser.random, clearTimeout: clock.clearTimeout,
      // Of a page that is frozen no timer runs; when it thaws, all that are due.
      setTimeout: (run, ms) => clock.setTimeout(() => (this.frozen ? this.late.push(run) : run()), ms)
    }
    const make = (listener) => ({
      changed() {}, wake() {}, dropped() {}, send: () => true,
      run: (closed) => new Promise((resolve) => {
        browser.connected.add(this)
        this.tell = (frame) => listener.onFrame(frame, 'websocket')
        clock.setTimeout(() => this.tell({ type: 'hello', session: name, heads: {} }), 5)
        closed.addEventListener('abort', () => {
          browser.connected.delete(this)
          resolve()
        })
      })
    })
    const shared = { locks: browser.locks, BroadcastChannel: browser.channel(this) }
    this.shared = new SharedHints('x', shared, env, make, {
      places: () => ({}),
      onFrame: (frame) => {
        if (frame.type === 'hello') this.state = 'live'
        if (frame.type === 'hint') this.hints.push(frame.seq)
      },
      onLost: () => (this.state = 'connecting'),
      onFinal: (error) => assert.fail(error)
    })
    this.shared.run(this.#close.signal)
  }

  close() {
    this.#close.abort()
  }

  freeze() {
    this.frozen = true
  }

  thaw() {
    this.frozen = false
    for (const run of this.late.splice(0)) run()
  }
}

/** Exactly these have a connection, and everybody hears of a hint of each. */
async function shares(browser, leaders, tabs) {
  assert.deepEqual([...browser.connected], leaders)
  assert.deepEqual(tabs.map((tab) => tab.state), tabs.map(() => 'live'))
  for (const leader of leaders) leader.tell({ type: 'hint', channel: 'news', epoch: 'e', seq: browser.clock.now })
  await browser.pass(1)
  for (const tab of tabs) assert.ok(tab.hints.length, 'no hint')
  for (const tab of tabs) tab.hints.length = 0
}

test('one connection for all tabs; the next one takes over', async () => {
  const browser = new Browser()
  const [one, two, three] = ['one', 'two', 'three'].map((name) => browser.open(name))
  await browser.pass(1)
  await shares(browser, [one], [one, two, three])
  one.close()
  await browser.pass(1)
  await shares(browser, [two], [two, three])
})

test('a leader that was frozen is the only one again when it thaws', async () => {
  const browser = new Browser()
  const [one, two, three] = ['one', 'two', 'three'].map((name) => browser.open(name))
  await browser.pass(1)
  one.freeze()
  await browser.pass(120)
  assert.equal(browser.connected.size, 2, 'one of the two others helps both')
  one.thaw()
  await browser.pass(11)
  await shares(browser, [one], [one, two, three])
})

test('who helped itself keeps the lock when it gets it: no other connects', async () => {
  const browser = new Browser()
  const [one, two] = ['one', 'two'].map((name) => browser.open(name))
  await browser.pass(1)
  one.freeze()
  await browser.pass(60)
  assert.deepEqual([...browser.connected], [one, two])
  one.close()
  const three = browser.open('three')
  await browser.pass(60)
  await shares(browser, [two], [two, three])
  two.close()
  await browser.pass(1)
  await shares(browser, [three], [three])
})

test('another one gets the lock: who helped itself gives way', async () => {
  const browser = new Browser()
  browser.hold()
  const release = browser.release
  const first = browser.open('first')
  const second = browser.open('second')
  await browser.pass(60)
  assert.equal(browser.connected.size, 1, 'of two that help themselves one is enough')
  const [helper] = browser.connected
  release()
  await browser.pass(11)
  // The one that was first in the queue.
  await shares(browser, [first], [first, second])
  assert.ok(helper === first || helper === second)
})
