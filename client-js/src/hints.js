import { Backoff } from './backoff.js'
import { PushError } from './errors.js'
import { sleep } from './env.js'
import { Ladder } from './ladder.js'
import { Session } from './session.js'

// A session that lived so long, or that the server ended with a word, says that it works.
const WORKED_MS = 5_000
// Refused although the token was new: another one will not help.
const MOST_STALE = 3
// Names in an address; the rest is subscribed, or pulled without hints.
const ADDRESS_BYTES = 4_000

/**
 * What the hints are for.
 *
 * @typedef {object} HintListener
 * @property {() => Record<string, string>} places what is followed, and from where
 * @property {(frame: import('./types.js').Frame, kind: string) => void} onFrame
 * @property {(reason: string, wasLive: boolean) => void} onLost
 * @property {(error: PushError) => void} onFinal nothing changes by coming again
 */

/** Keeps one hint session alive: picks the transport, backs off, moves up again. */
export class Hints {
  #ladder
  #backoff
  /** @type {Session | undefined} */
  #session
  /** @type {string | undefined} the last WebSocket session, which a stream may replace */
  #last
  #stale = 0
  /** Which channels the session was told of. @type {Set<string>} */
  #told = new Set()
  #hurry = new AbortController()

  /**
   * @param {string} base
   * @param {string | undefined} device
   * @param {readonly import('./ladder.js').Transport[]} transports
   * @param {import('./env.js').Env} env
   * @param {import('./credential.js').Credential} credential
   * @param {HintListener} listener
   */
  constructor(base, device, transports, env, credential, listener) {
    this.base = base
    this.device = device
    this.env = env
    this.credential = credential
    this.listener = listener
    this.#ladder = new Ladder(transports, env.random)
    this.#backoff = new Backoff(env.random)
  }

  /** @param {AbortSignal} closed */
  async run(closed) {
    closed.addEventListener('abort', () => this.#session?.close('closed here'))
    while (!closed.aborted) {
      const kind = this.#ladder.now
      if (!kind) return
      const end = await this.#one(kind, closed)
      if (closed.aborted) return
      const final = this.#judge(end)
      if (final) return this.listener.onFinal(final)
      const atOnce = this.#ladder.ended(kind, end)
      const wasLive = end.livedMs !== undefined
      if (wasLive || !atOnce) this.listener.onLost(`${kind}: ${end.reason}`, wasLive)
      if ((end.livedMs ?? 0) >= WORKED_MS || (wasLive && end.orderly)) this.#backoff.reset()
      if (!atOnce) await this.#rest(this.#backoff.next(end.retryAfterMs), closed)
    }
  }

  /** Over the live session, if it can. @param {object} frame */
  send(frame) {
    return this.#session?.live === true && this.#session.send(frame)
  }

  /** The network is back, or the page is visible: try now. */
  wake() {
    this.#hurry.abort()
    this.#session?.probe()
  }

  /** Other channels are followed now. A stream has to be opened anew for them. */
  changed() {
    const session = this.#session
    if (!session?.live) return // its hello is yet to come, and looks itself
    const places = this.listener.places()
    const rest = Object.fromEntries(Object.entries(places).filter(([name]) => !this.#told.has(name)))
    if (!Object.keys(rest).length) return
    if (session.kind === 'sse') return session.close('other channels', 1000)
    for (const name of Object.keys(rest)) this.#told.add(name)
    session.send({ type: 'subscribe', channels: rest })
  }

  /** Of no interest any more. @param {string} name */
  dropped(name) {
    if (this.#told.delete(name)) this.send({ type: 'unsubscribe', channels: [name] })
  }

  /** @param {number} ms @param {AbortSignal} closed */
  async #rest(ms, closed) {
    this.#hurry = new AbortController()
    const end = () => this.#hurry.abort()
    closed.addEventListener('abort', end)
    await sleep(this.env, ms, this.#hurry.signal)
    closed.removeEventListener('abort', end)
  }

  /** What ends it for good. A refused token does not, while there may be a better one. @param {import('./session.js').End} end */
  #judge(end) {
    if (!end.staleToken) {
      this.#stale = 0
      return end.final
    }
    this.#stale = end.livedMs === undefined ? this.#stale + 1 : 1
    const renewable = this.credential.refused(this.#token)
    return renewable && this.#stale < MOST_STALE ? undefined : end.final
  }

  /** @type {string | undefined} */
  #token

  /**
   * @param {import('./ladder.js').Transport} kind
   * @param {AbortSignal} closed
   * @returns {Promise<import('./session.js').End>}
   */
  async #one(kind, closed) {
    try {
      this.#token = await this.credential.token()
    } catch (cause) {
      const error = /** @type {PushError} */ (cause)
      return {
        blocked: false, orderly: false, staleToken: false, reason: error.message,
        retryAfterMs: error.retryAfterMs, final: error.transient ? undefined : error
      }
    }
    const session = new Session(kind, this.env, this.credential, (frame) => {
      if (frame.type === 'hello' && kind === 'websocket') this.#last = frame.session
      this.listener.onFrame(frame, kind)
      if (frame.type === 'hello') this.changed()
    })
    const [url, named] = this.#address(kind)
    // A stream cannot be told of more; what its address has no room for is pulled every interval.
    this.#told = new Set(kind === 'sse' ? Object.keys(this.listener.places()) : named)
    if (closed.aborted) session.close('closed here')
    this.#session = session
    const over = new AbortController()
    if (this.#ladder.above) this.#climb(this.#ladder.above, session, over.signal)
    const end = await session.run(url, this.#token)
    over.abort()
    return end
  }

  /**
   * @param {import('./ladder.js').Transport} kind
   * @returns {[string, string[]]} and which channels it names: it has no room for any number
   */
  #address(kind) {
    const query = []
    let room = ADDRESS_BYTES
    const names = Object.keys(this.listener.places()).filter((name) => {
      room -= encodeURIComponent(name).length + 1
      return room >= 0
    })
    if (names.length) query.push(`channels=${names.map(encodeURIComponent).join(',')}`)
    if (this.device) query.push(`device=${encodeURIComponent(this.device)}`)
    if (kind === 'sse' && this.#last) query.push(`replaces=${encodeURIComponent(this.#last)}`)
    const path = kind === 'websocket' ? '/v1/ws' : '/v1/events'
    return [`${this.base}${path}?${query.join('&')}`, names]
  }

  /**
   * While a lower rung holds, look whether the better one works again; then move over.
   *
   * @param {import('./ladder.js').Transport} kind
   * @param {Session} held
   * @param {AbortSignal} over
   */
  async #climb(kind, held, over) {
    while (!over.aborted) {
      await sleep(this.env, this.#ladder.climbIn(), over)
      if (over.aborted) return
      const probe = new Session(kind, this.env, this.credential, (frame) => {
        if (frame.type === 'hello') probe.close('it works', 1000)
      })
      const end = await probe.run(this.#address(kind)[0], this.#token)
      if (end.livedMs !== undefined && !over.aborted) {
        this.#ladder.climb()
        held.close(`${kind} works again`, 1000)
        return
      }
    }
  }
}
