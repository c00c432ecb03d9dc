import { PushError, errorOf } from './errors.js'

// Beyond what a held poll is held: a connection that is gone without a word must be noticed.
const ANSWER_MS = 15_000
const TOKENS = 3 // of one request: the second may run out on its way as well

/**
 * Requests to one server. Each is bounded in time, carries the token, and fails as a PushError.
 */
export class Http {
  /**
   * @param {string} base the server's address, without `/v1`
   * @param {import('./credential.js').Credential} credential
   * @param {import('./env.js').Env} env
   * @param {AbortSignal} closed ends every request
   */
  constructor(base, credential, env, closed) {
    this.base = base
    this.credential = credential
    this.env = env
    this.closed = closed
  }

  /**
   * The JSON of the answer, undefined for 204. A refused token is replaced, if there is another.
   *
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @param {{signal?: AbortSignal, waitMs?: number, keepalive?: boolean}} [options] `waitMs`: how
   *   long the server may hold it
   * @returns {Promise<any>}
   */
  async ask(method, path, body, options = {}) {
    for (let tries = 1, refused; ; tries++) {
      const token = await this.credential.token()
      const response = await this.#send(method, path, body, token, options)
      if (response.ok) return this.#read(response, options.signal)
      const error = await errorOf(response)
      response.release()
      this.#check(options.signal)
      const again = error.status === 401 && tries < TOKENS && token !== refused
      if (!again || !this.credential.refused(token)) throw error
      refused = token
    }
  }

  /** @param {Response & {release: () => void}} response @param {AbortSignal | undefined} signal */
  async #read(response, signal) {
    try {
      return response.status === 204 ? undefined : await response.json()
    } catch (cause) {
      this.#check(signal)
      throw new PushError('unreachable', 'The answer broke off or is no JSON', { cause })
    } finally {
      response.release()
    }
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} body
   * @param {string | undefined} token
   * @param {{signal?: AbortSignal, waitMs?: number, keepalive?: boolean}} options
   * @returns {Promise<Response & {release: () => void}>}
   */
  async #send(method, path, body, token, { signal, waitMs = 0, keepalive = false }) {
    this.#check(signal)
    const over = new AbortController()
    const end = () => over.abort()
    const timer = this.env.setTimeout(end, ANSWER_MS + waitMs)
    this.closed.addEventListener('abort', end)
    signal?.addEventListener('abort', end)
    const release = () => {
      this.env.clearTimeout(timer)
      this.closed.removeEventListener('abort', end)
      signal?.removeEventListener('abort', end)
    }
    /** @type {Record<string, string>} */
    const headers = {}
    if (token !== undefined) headers.authorization = `Bearer ${token}`
    if (body !== undefined) headers['content-type'] = 'application/json'
    try {
      const response = await this.env.fetch(this.base + path, {
        method, headers, keepalive, signal: over.signal, cache: 'no-store',
        body: body === undefined ? undefined : JSON.stringify(body)
      })
      return Object.assign(response, { release })
    } catch (cause) {
      release()
      this.#check(signal)
      throw new PushError('unreachable', `No answer from ${this.base}`, { cause })
    }
  }

  /** @param {AbortSignal | undefined} signal */
  #check(signal) {
    if (this.closed.aborted) throw new PushError('closed', 'The client was closed')
    signal?.throwIfAborted()
  }
}
