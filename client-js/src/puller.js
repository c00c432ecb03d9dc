import { Backoff } from './backoff.js'
import { PushError } from './errors.js'
import { Wakeup } from './env.js'
import { Locator } from './locate.js'
import { Following } from './state.js'

const INTERVAL_MS = 20_000
const INTERVAL_RANGE_MS = [1_000, 300_000]
const WAIT_S = 25
const LIMIT = 100
// A poll that comes back empty sooner than this was not held.
const HELD_MS = 1_000

/**
 * What pulling needs of the rest.
 *
 * @typedef {object} Consumer
 * @property {(name: string, outcome: import('./state.js').Outcome) => Promise<void> | undefined} take
 *   undefined: nothing to wait for
 * @property {(name: string, cursor: string) => void} told the server knows this cursor
 * @property {(names: string[]) => Promise<Record<string, string>>} starts cursors of the store
 * @property {(notice: import('./types.js').Frame) => void} notice
 * @property {(error: PushError | undefined) => void} trouble undefined: it works (again)
 * @property {(error: PushError) => void} final
 */

/** Pulls when a hint says so, every interval in any case, and all the time without hints. */
export class Puller {
  following = new Following()
  #changed = new Wakeup()
  #polling = false
  #pullAt = Infinity
  #fullAt
  #notBefore = 0
  #intervalMs = INTERVAL_MS
  #worked = false
  #stalled = false
  #trouble
  #stall
  /** @type {AbortController | undefined} */
  #held
  #locator

  /**
   * @param {import('./http.js').Http} http
   * @param {import('./env.js').Env} env
   * @param {Consumer} consumer
   * @param {{mine: boolean, device?: string, interval?: number, visible: () => boolean}} options
   */
  constructor(http, env, consumer, options) {
    this.http = http
    this.env = env
    this.consumer = consumer
    this.options = options
    if (options.interval) this.#intervalMs = options.interval
    this.#fullAt = env.now() + this.#intervalMs
    this.#trouble = new Backoff(env.random)
    this.#stall = new Backoff(env.random, 500, 10_000)
    this.#locator = new Locator(http, env, options.device, LIMIT, {
      wanted: (name) => this.following.has(name) && this.following.cursor(name) === undefined,
      found: (name, part) => {
        if (!part.error && !part.reset) this.#works()
        this.#outcome(name, undefined, part)
        this.#again()
      },
      failed: (error) => this.#failed(error)
    })
  }

  // -- what hints tell -------------------------------------------------------------------------

  /** @param {import('./types.js').Frame} frame */
  live(frame) {
    const [low, high] = /** @type {[number, number]} */ (INTERVAL_RANGE_MS)
    const asked = (frame.pull?.interval_s ?? 0) * 1000
    if (!this.options.interval && asked) this.#intervalMs = Math.min(Math.max(asked, low), high)
    this.#fullAt = Math.min(this.#fullAt, this.env.now() + this.#intervalMs)
    this.#polling = false
    const heads = frame.heads ?? {}
    // Of those that the hello does not name nobody knows.
    this.following.suspect(this.following.names.filter((name) => !(name in heads)))
    this.learn(heads, frame.pull?.jitter_ms ?? 0)
    // A poll that is held would tell nothing that the hello does not.
    this.#held?.abort()
  }

  /** Only held polls bring news now. */
  poll() {
    this.#polling = true
    this.#changed.notify()
  }

  /** @param {Record<string, import('./types.js').Head>} heads @param {number} [jitterMs] */
  async learn(heads, jitterMs = 0) {
    const own = Object.keys(heads).filter((name) => this.options.mine && !this.following.has(name))
    const starts = own.length ? await this.consumer.starts(own) : {}
    for (const name of own) {
      const head = heads[name]
      if (head && !this.following.has(name)) {
        this.following.add(name, starts[name] ?? Following.firstContact(name, head))
      }
    }
    for (const [name, head] of Object.entries(heads)) {
      this.following.heard(name, head.epoch, head.head)
    }
    this.#soon(jitterMs)
  }

  /** @param {import('./types.js').Frame} frame */
  hinted({ channel = '', epoch = '', seq = 0, jitter_ms = 0 }) {
    if (this.following.heard(channel, epoch, seq)) this.#soon(jitter_ms)
  }

  /** The network is back, or the page is visible again. */
  wake() {
    this.#notBefore = 0
    this.#fullAt = this.env.now()
    this.#changed.notify()
  }

  // -- what the application wants ----------------------------------------------------------------

  /** @param {string} name @param {string | undefined} cursor */
  follow(name, cursor) {
    if (this.following.has(name)) return
    this.following.add(name, cursor)
    if (cursor !== undefined) this.following.suspect([name])
    this.#again()
  }

  /** @param {string} name */
  unfollow(name) {
    this.following.remove(name)
  }

  /** A large channel's clients spread their pulls. @param {number} jitterMs */
  #soon(jitterMs) {
    if (!this.following.behind) return
    const at = this.env.now() + this.env.random() * Math.max(jitterMs, 0)
    this.#pullAt = Math.min(this.#pullAt, at)
    this.#changed.notify()
  }

  /** What a poll that is held asks for is out of date. */
  #again() {
    this.#soon(0)
    this.#held?.abort()
    this.#changed.notify()
  }

  // -- pulling -----------------------------------------------------------------------------------

  /** @param {AbortSignal} closed */
  async run(closed) {
    while (!closed.aborted) {
      for (const name of this.following.unplaced) this.#locator.begin(name, closed)
      const ms = this.#dueIn()
      if (ms > 0) await this.#changed.wait(this.env, ms, closed)
      else await this.#once(closed)
    }
  }

  #dueIn() {
    const now = this.env.now()
    let at = Math.min(this.#fullAt, this.following.behind ? this.#pullAt : Infinity)
    if (this.#polling && this.options.visible()) at = 0
    return Math.max(at, this.#notBefore) - now
  }

  /** @param {AbortSignal} closed */
  async #once(closed) {
    const began = this.env.now()
    const everything = this.#polling || began >= this.#fullAt
    // What is known to be there needs no waiting.
    const held = this.#polling && !this.following.behind && this.options.visible()
    const ask = this.following.begin(everything, this.options.mine)
    this.#pullAt = Infinity
    if (everything) this.#fullAt = began + this.#intervalMs * (0.8 + this.env.random() / 5)
    if (!Object.keys(ask.cursors).length && !ask.mine) {
      // Nothing to ask for; what changes that says so.
      if (this.#polling) await this.#changed.wait(this.env, this.#fullAt - began, closed)
      return
    }
    this.#held = held ? new AbortController() : undefined
    const answer = await this.#pull(ask, held ? WAIT_S : 0, this.#held?.signal)
    this.#held = undefined
    if (closed.aborted) return
    if (!answer) return this.following.failed(ask)
    const waited = held && this.env.now() - began >= HELD_MS
    this.#pace(await this.#take(ask, answer), waited)
    this.#soon(0)
  }

  /**
   * @param {import('./state.js').Ask} ask
   * @param {number} wait
   * @param {AbortSignal | undefined} signal
   */
  async #pull({ cursors, atleast, mine }, wait, signal) {
    const device = this.options.device
    const body = { cursors, limit: LIMIT, ...(wait && { wait }), ...(mine && { mine }),
      ...(Object.keys(atleast).length && { atleast }), ...(device && { device }) }
    try {
      const answer = await this.http.ask('POST', '/v1/pull', body, { signal, waitMs: wait * 1000 })
      if (typeof answer?.channels !== 'object') throw new PushError('bad_answer', 'Not of pushd')
      this.#works()
      return answer
    } catch (error) {
      if (!signal?.aborted) this.#failed(error)
      return undefined
    }
  }

  #works() {
    this.#worked = true
    this.#trouble.reset()
    this.consumer.trouble(undefined)
  }

  /** @param {unknown} cause */
  #failed(cause) {
    const error = cause instanceof PushError ? cause : new PushError('unreachable', String(cause))
    if (error.code === 'closed') return
    // A proxy without its server is no reason to end what worked.
    if (!error.transient && !(this.#worked && error.foreign)) return this.consumer.final(error)
    this.consumer.trouble(error)
    this.#notBefore = this.env.now() + this.#trouble.next(error.retryAfterMs)
  }

  /**
   * Whether it brought anything.
   *
   * @param {import('./state.js').Ask} ask
   * @param {any} answer
   */
  async #take(ask, answer) {
    let news = false
    for (const [name, part] of Object.entries(answer.channels)) {
      let asked = ask.cursors[name]
      if (asked === undefined) {
        if (!this.options.mine || this.following.has(name) || part.error) continue
        // One of the user's own; where its answer begins only the server knows, unless the store does.
        const start = (await this.consumer.starts([name]))[name]
        this.following.add(name, start)
        this.following.suspect([name])
        if (start !== undefined) continue
      } else {
        this.consumer.told(name, asked)
      }
      news = this.#outcome(name, asked, part) || news
    }
    this.following.suspect(ask.wanted.filter((name) => !(name in answer.channels)))
    for (const notice of answer.notices ?? []) this.#notice(notice)
    return news
  }

  /** @param {string} name @param {string | undefined} asked @param {any} part */
  #outcome(name, asked, part) {
    let outcome
    try {
      outcome = this.following.answered(name, asked, part)
    } catch (error) {
      // Said aloud and asked again: going on would leave a hole.
      this.following.suspect([name])
      this.#failed(error)
      return false
    }
    const taking = this.consumer.take(name, outcome)
    if (taking) {
      this.following.setBusy(name, true)
      taking.finally(() => {
        this.following.setBusy(name, false)
        this.#again()
      })
    }
    return outcome.kind === 'messages'
  }

  /** @param {import('./types.js').Frame} notice */
  #notice(notice) {
    if (notice.type === 'bye' && notice.reconnect !== false) {
      const rest = (notice.retry_after_ms ?? 0) + this.env.random() * 1000
      this.#notBefore = Math.max(this.#notBefore, this.env.now() + rest)
    }
    this.consumer.notice(notice)
  }

  /** Going round without getting anywhere slows down; the first time may be chance. @param {boolean} news @param {boolean} waited */
  #pace(news, waited) {
    const inCircles = this.following.behind || (this.#polling && !waited)
    if (!inCircles || news) {
      this.#stalled = false
      this.#stall.reset()
      return
    }
    if (this.#stalled) this.#notBefore = Math.max(this.#notBefore, this.env.now() + this.#stall.next())
    this.#stalled = true
  }
}
