import { Backoff } from './backoff.js'
import { sleep } from './env.js'

/**
 * @typedef {object} Seeker
 * @property {(name: string) => boolean} wanted it is still to be located
 * @property {(name: string, part: any) => void} found a page, a reset or a refusal
 * @property {(error: import('./errors.js').PushError) => void} failed it is tried again
 */

/** Begins channels where the server says that this device should: with its own first page. */
export class Locator {
  /** @type {Set<string>} */
  #under = new Set()

  /**
   * @param {import('./http.js').Http} http
   * @param {import('./env.js').Env} env
   * @param {string | undefined} device
   * @param {number} limit
   * @param {Seeker} seeker
   */
  constructor(http, env, device, limit, seeker) {
    this.http = http
    this.env = env
    this.query = `limit=${limit}` + (device ? `&device=${encodeURIComponent(device)}` : '')
    this.seeker = seeker
  }

  /** Does nothing while it is under way. @param {string} name @param {AbortSignal} closed */
  async begin(name, closed) {
    if (this.#under.has(name)) return
    this.#under.add(name)
    const backoff = new Backoff(this.env.random)
    const path = `/v1/channels/${encodeURIComponent(name)}/messages?${this.query}`
    while (!closed.aborted && this.seeker.wanted(name)) {
      try {
        this.seeker.found(name, await this.http.ask('GET', path))
      } catch (cause) {
        const error = /** @type {import('./errors.js').PushError} */ (cause)
        const said = { code: error.code, detail: error.message }
        if (error.status === 410) this.seeker.found(name, { reset: { ...error.members, ...said } })
        else if (/^(forbidden|bad_request|not_found)$/.test(error.code)) this.seeker.found(name, { error: said })
        else {
          this.seeker.failed(error)
          await sleep(this.env, backoff.next(error.retryAfterMs), closed)
        }
      }
    }
    this.#under.delete(name)
  }
}
