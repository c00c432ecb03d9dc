import { Adopter } from './adopt.js'
import { PushError, errorOfBye } from './errors.js'
import { Wakeup } from './env.js'
import { Locator } from './locate.js'
import { Schedule } from './schedule.js'
import { Following, bodyOf } from './state.js'

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

/** Pulls when it is time, hands on what comes, and knows what is to be asked next. */
export class Puller {
  following = new Following()
  #changed = new Wakeup()
  #schedule
  #worked = false
  /** @type {AbortController | undefined} */
  #held
  #adopter
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
    this.#schedule = new Schedule(env, options.interval)
    this.#adopter = new Adopter(this.following, consumer.starts, options.mine)
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
    this.#schedule.advise(frame.pull?.interval_s ?? 0)
    this.#schedule.polling = false
    const heads = frame.heads ?? {}
    this.following.enter(frame.session ?? '')
    // Of those that the hello does not name nobody knows.
    this.following.suspect(this.following.names.filter((name) => !(name in heads)))
    this.learn(heads, frame.pull?.jitter_ms ?? 0)
    // A poll that is held would tell nothing that the hello does not.
    this.#held?.abort()
  }

  get polling() {
    return this.#schedule.polling
  }

  /** Only held polls bring news now. */
  poll() {
    this.#schedule.polling = true
    this.#changed.notify()
  }

  /** @param {Record<string, import('./types.js').Head>} heads @param {number} [jitterMs] */
  async learn(heads, jitterMs = 0) {
    await this.#adopter.met(heads)
    for (const [name, head] of Object.entries(heads)) {
      this.following.heard(name, head.epoch, head.head)
    }
    this.#soon(jitterMs)
  }

  /** @param {import('./types.js').Frame} frame */
  hinted({ channel = '', epoch = '', seq = 0, jitter_ms = 0 }) {
    if (this.following.heard(channel, epoch, seq)) this.#soon(jitter_ms)
  }

  /** Something is strange about these: a pull has to tell. @param {string[]} names */
  suspect(names) {
    this.following.suspect(names)
    this.#soon(0)
  }

  /** The network is back, or the page is visible again. */
  wake() {
    this.#schedule.atOnce()
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

  // -- pulling -----------------------------------------------------------------------------------

  /** @param {number} jitterMs */
  #soon(jitterMs) {
    if (!this.following.behind) return
    this.#schedule.soon(jitterMs)
    this.#changed.notify()
  }

  /** What a poll that is held asks for is out of date. */
  #again() {
    this.#soon(0)
    this.#held?.abort()
    this.#changed.notify()
  }

  /** @param {AbortSignal} closed */
  async run(closed) {
    while (!closed.aborted) {
      for (const name of this.following.unplaced) this.#locator.begin(name, closed)
      const ms = this.#schedule.dueIn(this.following.behind, this.options.visible())
      if (ms > 0) await this.#changed.wait(this.env, ms, closed)
      else await this.#once(closed)
    }
  }

  /** @param {AbortSignal} closed */
  async #once(closed) {
    const began = this.env.now()
    const { polling, troubled } = this.#schedule
    // What is known to be there needs no waiting.
    const held = polling && !troubled && !this.following.behind && this.options.visible()
    const ask = this.following.begin(this.#schedule.begin(), this.options.mine)
    if (!Object.keys(ask.cursors).length && !ask.mine) {
      // Nothing to ask for; what changes that says so.
      if (polling) await this.#changed.wait(this.env, this.#schedule.fullIn, closed)
      return
    }
    this.#held = held ? new AbortController() : undefined
    const answer = await this.#pull(ask, held ? WAIT_S : 0, this.#held?.signal)
    this.#held = undefined
    if (closed.aborted) return
    if (answer) {
      const waited = held && this.env.now() - began >= HELD_MS
      const news = await this.#take(ask, answer)
      this.#schedule.pace(!news && (this.following.behind || (this.#schedule.polling && !waited)))
    } else this.following.failed(ask)
    this.#soon(0)
  }

  /** @param {import('./state.js').Ask} ask @param {number} wait @param {AbortSignal | undefined} signal */
  async #pull(ask, wait, signal) {
    const body = bodyOf(ask, { limit: LIMIT, wait, device: this.options.device })
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
    this.#schedule.works()
    this.consumer.trouble(undefined)
  }

  /** @param {unknown} cause */
  #failed(cause) {
    const error = cause instanceof PushError ? cause : new PushError('unreachable', String(cause))
    if (error.code === 'closed') return
    // A proxy without its server is no reason to end what worked.
    if (!error.transient && !(this.#worked && error.foreign)) return this.consumer.final(error)
    this.consumer.trouble(error)
    this.#schedule.failed(error.retryAfterMs)
  }

  /** Whether it brought anything. @param {import('./state.js').Ask} ask @param {any} answer */
  async #take(ask, answer) {
    let news = false
    for (const [name, part] of Object.entries(answer.channels)) {
      const asked = ask.cursors[name]
      if (asked !== undefined) this.consumer.told(name, asked)
      else if (part.error || !(await this.#adopter.brought(name))) continue
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
    if (notice.type !== 'bye') return this.consumer.notice(notice)
    const final = errorOfBye(notice)
    if (final) this.consumer.final(final)
    else this.#schedule.rest(notice.retry_after_ms ?? 0)
  }
}
