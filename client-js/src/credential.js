import { PushError } from './errors.js'
import { sleep } from './env.js'

// A token is renewed this long before it expires, or in the last fifth of a short life.
const MARGIN_MS = 60_000
const MARGIN_SHARE = 0.2
const AGAIN_MS = 5_000
const FUNCTION_MS = 30_000

/** @typedef {string | (() => string | Promise<string>) | undefined} TokenOption */

/** The token that requests carry; a function gives new ones before the old one expires. */
export class Credential {
  #given
  #env
  /** @type {string | undefined} */
  #token
  // On the clock that only rises; that a laptop slept is noticed by the server's refusal.
  #due = Infinity
  #ends = Infinity
  /** @type {Promise<string> | undefined} */
  #fetching

  /** @param {TokenOption} given @param {import('./env.js').Env} env */
  constructor(given, env) {
    this.#given = given
    this.#env = env
    if (typeof given === 'string') this.#token = given
  }

  /** Whether another token can be had when this one is refused. */
  get renewable() {
    return typeof this.#given === 'function'
  }

  /** Milliseconds until a live session should get another token. */
  get renewIn() {
    return this.renewable ? this.#due - this.#env.now() : Infinity
  }

  /**
   * The token to send now. When the function fails while the old one holds, that one is sent on.
   *
   * @returns {Promise<string | undefined>}
   */
  async token() {
    if (!this.renewable) return this.#token
    if (this.#token === undefined || this.#env.now() >= this.#due) {
      // Whoever comes while it is being fetched waits for that one.
      this.#fetching ??= this.#ask().finally(() => (this.#fetching = undefined))
      try {
        await this.#fetching
      } catch (error) {
        if (this.#token === undefined || this.#env.now() >= this.#ends) throw error
        this.#due = this.#env.now() + AGAIN_MS
      }
    }
    return this.#token
  }

  /** The server refuses `token`. True when it is worth trying with another. @param {unknown} token */
  refused(token) {
    if (!this.renewable) return false
    if (token === this.#token) this.#token = undefined
    return true
  }

  async #ask() {
    const given = /** @type {() => string | Promise<string>} */ (this.#given)
    const over = new AbortController()
    const late = sleep(this.#env, FUNCTION_MS, over.signal).then(() => {
      throw new PushError('no_token', 'The token function took too long')
    })
    late.catch(() => {})
    try {
      const token = await Promise.race([Promise.resolve().then(given), late])
      if (typeof token !== 'string' || !/^[!-~]+$/.test(token)) throw new Error('it gave no token')
      this.#keep(token)
      return token
    } catch (cause) {
      if (cause instanceof PushError) throw cause
      throw new PushError('no_token', `The token function failed: ${cause}`, { cause })
    } finally {
      over.abort()
    }
  }

  /** @param {string} token */
  #keep(token) {
    this.#token = token
    const left = expiryOf(token) - this.#env.wall()
    // Expired by our clock: one of the two clocks is wrong, and the server's decides.
    const known = left > 0 && left < Infinity
    this.#ends = known ? this.#env.now() + left : Infinity
    this.#due = known ? this.#ends - Math.min(MARGIN_MS, left * MARGIN_SHARE) : Infinity
  }
}

/** `exp` of a JWT in Unix milliseconds, unverified; Infinity when there is none. @param {string} token */
export function expiryOf(token) {
  const { exp } = claimsOf(token)
  return typeof exp === 'number' ? exp * 1000 : Infinity
}

/** What a JWT claims, unverified; nothing for what is none. @param {string} token @returns {Record<string, unknown>} */
export function claimsOf(token) {
  try {
    const part = (token.split('.')[1] ?? '').replace(/-/g, '+').replace(/_/g, '/')
    const bytes = Uint8Array.from(atob(part), (each) => each.charCodeAt(0))
    const claims = JSON.parse(new TextDecoder().decode(bytes))
    return typeof claims === 'object' && claims !== null ? claims : {}
  } catch {
    return {}
  }
}
