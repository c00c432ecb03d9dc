import assert from 'node:assert/strict'

import { Stage } from './stage.js'

const WITHIN_S = 5

/** A token with this life from now on, as far as a client can see. */
function token(lifeS, number) {
  const claims = btoa(JSON.stringify({ sub: 'alice', exp: lifeS, jti: number })).replace(/=+$/, '')
  return `e30.${claims}.x`
}

/** Plays one of the shared cases (docs/your-own-client.md): throws where the client does otherwise. */
export async function play(given) {
  const stage = new Stage({ ...given, tokens: (given.tokens ?? [3600]).map(token) })
  const script = new Script(stage, given)
  await script.begin()
  for (const [at, step] of given.steps.entries()) {
    try {
      await script.step(step)
    } catch (error) {
      error.message = `step ${at + 1}, ${JSON.stringify(step)}: ${error.message}`
      throw error
    }
  }
  await script.end()
  stage.client.close()
  await stage.pass(60)
}

class Script {
  #pulled
  #loose = false

  constructor(stage, { follow, hello }) {
    this.stage = stage
    this.follow = follow
    this.hello = hello
  }

  /** The first session. Who follows from the head may pull at once, and gets nothing. */
  async begin() {
    const { stage, hello } = this
    const heads = hello?.heads ?? {}
    const current = (pull) => Object.entries(pull.cursors).every(([name, cursor]) =>
      hello ? `${heads[name]?.epoch}.${heads[name]?.head}` === cursor : !pull.wait)
    for (let seconds = 1; ; ) {
      await stage.pass(seconds, () => stage.asked.length)
      const asked = stage.asked[0]
      if (asked?.connect) {
        asked.connect.accept()
        stage.say(hello)
      } else if (asked?.pull && current(asked.pull)) this.#nothing(asked)
      else break
      stage.asked.shift()
    }
  }

  async step(step) {
    const kind = Object.keys(step)[0]
    assert.ok(kind in this.#kinds, `there is no step "${kind}"`)
    await this.#kinds[kind](step[kind], step)
  }

  /** Nothing but what was scripted. */
  async end() {
    if (!this.#loose) await this.#quiet(2)
  }

  #kinds = {
    world: () => {},
    say: (frame) => this.stage.say(frame),
    close: (code) => this.stage.close(code),
    silence: () => this.stage.silence(),
    down: () => void (this.stage.down = true),
    up: () => void (this.stage.down = false),
    connect: async ({ channels, token: name = 't1' }, step) => {
      const { connect } = await this.#asked('connect', { ...step, idle: true })
      // The user's own may be named, too.
      const topics = connect.channels.filter((name) => !/^(all$|user:|group:)/.test(name))
      assert.deepEqual(topics.sort(), [...channels].sort())
      if (step.connect.token) assert.equal(connect.token, name)
      if (!this.stage.down) connect.accept()
    },
    pull: async (expected, step) => {
      const asked = (this.#pulled = await this.#asked('pull', step))
      const { cursors, atleast = {}, wait = 0, mine = false } = asked.pull
      assert.deepEqual(cursors, expected.cursors)
      if (expected.atleast) assert.deepEqual(atleast, expected.atleast)
      assert.equal(wait > 0, expected.held ?? false, 'held or not')
      if (expected.mine !== undefined) assert.equal(mine, expected.mine)
      if (step.token) assert.equal(asked.token, step.token)
    },
    begin: async (channel, step) => {
      const asked = (this.#pulled = await this.#asked('begin', step))
      if (asked.begin) assert.equal(asked.begin, channel)
      else assert.ok(asked.pull.mine && !(channel in asked.pull.cursors))
    },
    answer: (body, { status = 200, headers }) => {
      const { respond, fail, begin, gone } = this.#pulled
      assert.ok(!gone, 'the client has given it up')
      if (body === null) fail()
      else respond(status, begin ? body.channels[begin] : body, headers)
    },
    send: async (frame, step) => assert.deepEqual((await this.#asked('send', step)).send, frame),
    deliver: async (messages) => {
      for (const message of messages) await this.#told({ deliver: [message] })
    },
    reset: (reset) => this.#told({ reset }),
    drop: (drop) => this.#told({ drop }),
    expiring: (expiring) => this.#told({ expiring }),
    read: (read) => this.#told({ read }),
    end: async (code) => {
      await this.#told({ end: code })
      assert.equal(this.stage.client.state.state, 'closed')
    },
    in_any_order: async (steps) => {
      await this.stage.pass(WITHIN_S, () => this.stage.told.length >= steps.length)
      const order = (one, other) => (JSON.stringify(one) < JSON.stringify(other) ? -1 : 1)
      assert.deepEqual(this.stage.told.splice(0, steps.length).sort(order), [...steps].sort(order))
    },
    ack: async (cursors) => {
      const known = () => Object.entries(cursors).every(([name, cursor]) => this.stage.delivered[name] === cursor)
      await this.stage.pass(WITHIN_S, known)
      assert.ok(known(), `told are ${JSON.stringify(this.stage.delivered)}`)
    },
    quiet_s: (seconds) => this.#quiet(seconds),
    idle_s: async (seconds) => {
      const until = this.stage.clock.now + seconds * 1000
      for (let left = seconds; left > 0; left = (until - this.stage.clock.now) / 1000) {
        await this.stage.pass(left, () => this.stage.asked.length)
        if (this.stage.asked.length) this.#nothing(this.stage.asked.shift())
      }
      assert.deepEqual(this.stage.told, [])
    },
    undelivered_s: async (seconds) => {
      this.#loose = true
      await this.stage.pass(seconds)
      assert.deepEqual(this.stage.told.filter((each) => each.deliver), [])
      for (const { connect, pull } of this.stage.asked) assert.ok(connect || pull.cursors.news === this.#pulled.pull.cursors.news)
    }
  }

  /** The next that the client asks, which has to be of this kind. */
  async #asked(kind, { after_s: afterS = 0, within_s: withinS = WITHIN_S + afterS, idle = false }) {
    const { stage } = this
    const [from, until] = [stage.clock.now + afterS * 1000, stage.clock.now + withinS * 1000]
    for (;;) {
      await stage.pass((until - stage.clock.now) / 1000, () => stage.asked.some((each) => !each.gone))
      stage.asked = stage.asked.filter((each) => !each.gone)
      const asked = stage.asked.shift()
      assert.ok(asked, `no ${kind} within ${withinS} s`)
      if (idle && asked.pull) {
        this.#nothing(asked)
        continue
      }
      const fits = asked[kind] !== undefined || (kind === 'begin' && asked.pull)
      assert.ok(fits, `${JSON.stringify(asked)} instead`)
      assert.ok(stage.clock.now >= from, `not before ${afterS} s`)
      return asked
    }
  }

  /** There is nothing new. */
  #nothing({ pull, respond }) {
    assert.ok(pull, 'only pulls are expected here')
    if (pull.wait) return
    const channels = Object.entries(pull.cursors).map(([name, cursor]) => {
      const next = cursor.includes('.') ? cursor : 'none.0'
      const [epoch, seq] = next.split('.')
      return [name, { channel: name, epoch, first: 1, head: Number(seq), next, more: false, messages: [] }]
    })
    respond(200, { channels: Object.fromEntries(channels), notices: [] })
  }

  async #told(expected) {
    await this.stage.pass(WITHIN_S, () => this.stage.told.length)
    assert.deepEqual(this.stage.told.shift(), expected)
  }

  async #quiet(seconds) {
    await this.stage.pass(seconds, () => this.stage.asked.some((each) => !each.gone) || this.stage.told.length)
    assert.deepEqual(this.stage.asked.filter((each) => !each.gone), [], 'nothing should be asked')
    assert.deepEqual(this.stage.told, [], 'nothing should be told')
  }
}
