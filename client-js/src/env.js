/**
 * What the client needs of the world around it. Tests bring their own, with a clock they turn.
 *
 * @typedef {object} Env
 * @property {typeof fetch} fetch
 * @property {(new (url: string, protocols?: string[]) => WebSocket) | undefined} WebSocket
 * @property {() => number} now milliseconds that only rise
 * @property {() => number} wall Unix time in milliseconds
 * @property {() => number} random from 0 up to 1
 * @property {(run: () => void, ms: number) => unknown} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {Storage | undefined} storage kept across reloads
 */

/**
 * The browser's, or Node's.
 *
 * @param {Partial<Env>} [given]
 * @returns {Env}
 */
export function environment(given = {}) {
  const world = globalThis
  return {
    fetch: given.fetch ?? world.fetch.bind(world),
    WebSocket: 'WebSocket' in given ? given.WebSocket : world.WebSocket,
    now: given.now ?? (() => performance.now()),
    wall: given.wall ?? Date.now,
    random: given.random ?? Math.random,
    setTimeout: given.setTimeout ?? ((run, ms) => world.setTimeout(run, ms)),
    clearTimeout: given.clearTimeout ?? ((timer) => world.clearTimeout(timer)),
    storage: 'storage' in given ? given.storage : localStorageOrNone()
  }
}

/** A page without storage (private, sandboxed) throws where others have it. */
function localStorageOrNone() {
  try {
    return globalThis.localStorage ?? undefined
  } catch {
    return undefined
  }
}

/**
 * Resolves after `ms`, or at once when `signal` aborts; never rejects.
 *
 * @param {Env} env
 * @param {number} ms
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
export function sleep(env, ms, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve()
    const done = () => {
      env.clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = env.setTimeout(done, ms)
    signal?.addEventListener('abort', done)
  })
}

/** Lets one task wait for what others do; what happened before `wait` counts. */
export class Wakeup {
  #happened = false
  /** @type {(() => void) | undefined} */
  #resolve

  notify() {
    this.#happened = true
    this.#resolve?.()
  }

  /**
   * Until `notify`, the time or the abort.
   *
   * @param {Env} env
   * @param {number} ms Infinity: no time
   * @param {AbortSignal} signal
   */
  async wait(env, ms, signal) {
    if (!this.#happened && !signal.aborted && ms > 0) {
      const over = new AbortController()
      const end = () => over.abort()
      this.#resolve = end
      signal.addEventListener('abort', end)
      // Timers hold 31 bits.
      await sleep(env, Math.min(ms, 2 ** 31 - 1), over.signal)
      signal.removeEventListener('abort', end)
      this.#resolve = undefined
    }
    this.#happened = false
  }
}
