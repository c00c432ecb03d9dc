import { errorOfBye } from './errors.js'
import { openEvents, openWebSocket } from './link.js'

const HELLO_MS = 10_000
const PONG_MS = 10_000
// What a server may reasonably ask for; protects against a zero and against a year.
const HEARTBEAT_MS = [1_000, 300_000]
const CLIENT_HEARTBEAT_MS = 25_000
const TOKEN_CODE = 4001

/**
 * How it went. `livedMs`: since its hello, undefined when there was none.
 *
 * @typedef {object} End
 * @property {number} [livedMs]
 * @property {boolean} blocked
 * @property {boolean} orderly
 * @property {string} reason
 * @property {number} [retryAfterMs]
 * @property {boolean} staleToken
 * @property {import('./errors.js').PushError} [final]
 */

/** One hint session: hello, heartbeat, token renewal, and why it ended. */
export class Session {
  /** @type {import('./link.js').Link | undefined} */
  #link
  /** @type {any} */
  #timer
  /** @type {any} */
  #renewal
  #heartbeatMs = CLIENT_HEARTBEAT_MS
  /** @type {number | undefined} */
  #since
  /** @type {import('./types.js').Frame | undefined} */
  #bye
  /** @type {(end: End) => void} */
  #ended = () => {}
  #over = false

  /**
   * @param {import('./ladder.js').Transport} kind
   * @param {import('./env.js').Env} env
   * @param {import('./credential.js').Credential} credential
   * @param {(frame: import('./types.js').Frame, session: Session) => void} onFrame
   */
  constructor(kind, env, credential, onFrame) {
    this.kind = kind
    this.env = env
    this.credential = credential
    this.onFrame = onFrame
  }

  get live() {
    return this.#since !== undefined && !this.#over
  }

  /**
   * Until it ends. Never rejects.
   *
   * @param {string} url
   * @param {string | undefined} token
   * @returns {Promise<End>}
   */
  run(url, token) {
    const open = this.kind === 'websocket' ? openWebSocket : openEvents
    return new Promise((resolve) => {
      this.#ended = resolve
      this.#expect(HELLO_MS, 'no hello came')
      try {
        this.#link = open(this.env, url, token, {
          onFrame: (frame) => this.#take(frame),
          onEnd: ({ code, reason, blocked }) => this.#end(reason, code, blocked)
        })
      } catch (error) {
        this.#end(String(error), undefined, true)
      }
    })
  }

  /** @param {object} frame */
  send(frame) {
    return this.#link?.send(frame) ?? false
  }

  /** @param {string} reason @param {number} [code] */
  close(reason, code) {
    this.#end(reason, code, false)
  }

  /** The network is back, or the page is visible: is anybody there? */
  probe() {
    if (this.kind === 'websocket' && this.live) this.#ping()
  }

  /** @param {import('./types.js').Frame} frame */
  #take(frame) {
    if (this.#over) return
    if (frame.type === 'bye') {
      this.#bye = frame
    } else if (frame.type === 'hello') {
      this.#since = this.env.now()
      const asked = (frame.heartbeat_s ?? 0) * 1000 || CLIENT_HEARTBEAT_MS
      const [low, high] = /** @type {[number, number]} */ (HEARTBEAT_MS)
      this.#heartbeatMs = Math.min(Math.max(asked, low), high)
      this.#scheduleRenewal()
    }
    if (this.#since !== undefined) this.#heard()
    this.onFrame(frame, this)
    if (frame.type === 'bye' && this.kind === 'sse') this.#end(frame.reason ?? '', frame.code, true)
  }

  /** Anything that arrives says that the link lives. */
  #heard() {
    if (this.kind === 'websocket') this.#after(this.#heartbeatMs, () => this.#ping())
    else this.#expect(this.#heartbeatMs + PONG_MS, 'the stream is silent')
  }

  #ping() {
    this.send({ type: 'ping' })
    this.#expect(PONG_MS, 'no pong came')
  }

  #scheduleRenewal() {
    this.env.clearTimeout(this.#renewal)
    const inMs = this.credential.renewIn
    if (inMs === Infinity || this.kind !== 'websocket') return
    this.#renewal = this.env.setTimeout(async () => {
      try {
        const token = await this.credential.token()
        if (!this.#over) this.send({ type: 'refresh', token })
      } catch {
        // The old one holds for a while: asked again, until the server says that it is over.
      }
      if (!this.#over) this.#scheduleRenewal()
    }, Math.max(inMs, 1000))
  }

  /** @param {number} ms @param {string} why */
  #expect(ms, why) {
    this.#after(ms, () => this.#end(why, undefined, true))
  }

  /** @param {number} ms @param {() => void} run */
  #after(ms, run) {
    this.env.clearTimeout(this.#timer)
    this.#timer = this.env.setTimeout(run, ms)
  }

  /** @param {string} reason @param {number | undefined} code @param {boolean} blocked */
  #end(reason, code, blocked) {
    if (this.#over) return
    this.#over = true
    this.env.clearTimeout(this.#timer)
    this.env.clearTimeout(this.#renewal)
    this.#link?.close()
    const bye = this.#bye
    const said = typeof bye?.code === 'number' ? bye.code : code
    this.#ended({
      livedMs: this.#since === undefined ? undefined : this.env.now() - this.#since,
      blocked: blocked && !bye,
      orderly: bye !== undefined,
      reason: bye?.reason ?? reason,
      retryAfterMs: bye?.retry_after_ms,
      staleToken: said === TOKEN_CODE,
      final: errorOfBye({ code: said, reason: bye?.reason ?? reason, reconnect: bye?.reconnect })
    })
  }
}
