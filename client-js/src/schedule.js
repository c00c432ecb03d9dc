import { Backoff } from './backoff.js'

const INTERVAL_MS = 20_000
const INTERVAL_RANGE_MS = [1_000, 300_000]

/** When to pull: hints say so, the interval does in any case, and trouble puts it off. */
export class Schedule {
  /** Only held polls bring news: all the time. */
  polling = false
  /** The last pull brought no answer: the next is not to be held, to know soon that it works again. */
  troubled = false
  #env
  #given
  #intervalMs
  #pullAt = Infinity
  #fullAt
  #notBefore = 0
  #trouble
  #stall
  #stalled = false

  /** @param {import('./env.js').Env} env @param {number} [intervalMs] instead of what the server advises */
  constructor(env, intervalMs) {
    this.#env = env
    this.#given = intervalMs
    this.#intervalMs = intervalMs ?? INTERVAL_MS
    this.#fullAt = env.now() + this.#intervalMs
    this.#trouble = new Backoff(env.random)
    this.#stall = new Backoff(env.random, 500, 10_000)
  }

  /** How often the server wants everything to be pulled. @param {number} seconds 0: it does not say */
  advise(seconds) {
    const [low, high] = /** @type {[number, number]} */ (INTERVAL_RANGE_MS)
    if (!this.#given && seconds) this.#intervalMs = Math.min(Math.max(seconds * 1000, low), high)
    this.#fullAt = Math.min(this.#fullAt, this.#env.now() + this.#intervalMs)
  }

  /** Something is behind. A large channel's clients spread their pulls. @param {number} jitterMs */
  soon(jitterMs) {
    const at = this.#env.now() + this.#env.random() * Math.max(jitterMs, 0)
    this.#pullAt = Math.min(this.#pullAt, at)
  }

  /** Everything, whatever was in the way. */
  atOnce() {
    this.#notBefore = 0
    this.#fullAt = this.#env.now()
  }

  /** Milliseconds until the next pull. @param {boolean} behind @param {boolean} visible */
  dueIn(behind, visible) {
    const now = this.#env.now()
    let at = Math.min(this.#fullAt, behind ? this.#pullAt : Infinity)
    if (this.polling && visible) at = 0
    return Math.max(at, this.#notBefore) - now
  }

  /** Milliseconds until everything is pulled. */
  get fullIn() {
    return this.#fullAt - this.#env.now()
  }

  /** A pull begins. True when it is one of everything. */
  begin() {
    const now = this.#env.now()
    const everything = this.polling || now >= this.#fullAt
    this.#pullAt = Infinity
    // A little early each time: clients that began together drift apart.
    if (everything) this.#fullAt = now + this.#intervalMs * (0.8 + this.#env.random() / 5)
    return everything
  }

  works() {
    this.troubled = false
    this.#trouble.reset()
  }

  /** @param {number | undefined} retryAfterMs what the server asks for */
  failed(retryAfterMs) {
    this.troubled = true
    this.#notBefore = this.#env.now() + this.#trouble.next(retryAfterMs)
  }

  /** The server wants no pull for so long. @param {number} ms */
  rest(ms) {
    this.#notBefore = Math.max(this.#notBefore, this.#env.now() + ms + this.#env.random() * 1000)
  }

  /** Going round without getting anywhere slows down; the first time may be chance. @param {boolean} inCircles */
  pace(inCircles) {
    if (!inCircles) this.#stall.reset()
    else if (this.#stalled) this.#notBefore = Math.max(this.#notBefore, this.#env.now() + this.#stall.next())
    this.#stalled = inCircles
  }
}
