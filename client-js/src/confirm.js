import { Backoff } from './backoff.js'
import { Wakeup, sleep } from './env.js'
import { memoryStore } from './stores.js'

const BATCH_MS = 500
const MOST_AT_ONCE = 128

/** Tells the store and the server what was processed: after the fact, or before it. */
export class Confirmer {
  #changed = new Wakeup()
  /** @type {Map<string, string>} not in the store yet */
  #unsaved = new Map()
  /** @type {Map<string, string>} not told to the server yet */
  #untold = new Map()
  /** Nothing is recorded for a client without a device. */
  hasDevice = true

  /**
   * @param {import('./env.js').Env} env
   * @param {(cursors: Record<string, string>, last: boolean) => Promise<void>} ack
   * @param {(error: unknown) => void} onError
   */
  constructor(env, ack, onError) {
    this.env = env
    /** @type {import('./stores.js').CursorStore} */
    this.store = memoryStore()
    this.ack = ack
    this.onError = onError
  }

  /** The application has processed up to `cursor`. @param {string} channel @param {string} cursor */
  took(channel, cursor) {
    this.#unsaved.set(channel, cursor)
    this.#untold.set(channel, cursor)
    this.#changed.notify()
  }

  /** A pull told the server this cursor. @param {string} channel @param {string} cursor */
  told(channel, cursor) {
    if (this.#untold.get(channel) === cursor) this.#untold.delete(channel)
  }

  /**
   * At most once: returns once `cursor` is in the store, however long that takes.
   *
   * @param {string} channel
   * @param {string} cursor
   */
  async before(channel, cursor) {
    this.took(channel, cursor)
    const backoff = new Backoff(this.env.random)
    while (this.#unsaved.get(channel) === cursor && !(await this.#save())) {
      await sleep(this.env, backoff.next())
    }
  }

  /** @param {AbortSignal} closed */
  async run(closed) {
    const backoff = new Backoff(this.env.random)
    while (!closed.aborted) {
      // Batched, and the acks often not needed: the next pull tells its cursor, too.
      await this.#changed.wait(this.env, Infinity, closed)
      await sleep(this.env, BATCH_MS, closed)
      while (!closed.aborted && !((await this.#save()) && (await this.#tell(false)))) {
        await sleep(this.env, backoff.next(), closed)
      }
      backoff.reset()
    }
  }

  /** At the end, or when the page is hidden: one attempt. */
  async now() {
    await this.#save()
    await this.#tell(true)
  }

  async #save() {
    const cursors = Object.fromEntries(this.#unsaved)
    if (!this.#unsaved.size) return true
    try {
      await this.store.save(cursors)
    } catch (error) {
      this.onError(error)
      return false
    }
    forget(this.#unsaved, cursors)
    return true
  }

  /** @param {boolean} last */
  async #tell(last) {
    while (this.hasDevice && this.#untold.size) {
      const batch = Object.fromEntries([...this.#untold].slice(0, MOST_AT_ONCE))
      try {
        await this.ack(batch, last)
      } catch (error) {
        // A refusal is no news: a pull will tell of a reset. Anything else is tried again.
        if (/** @type {any} */ (error).transient) return false
      }
      forget(this.#untold, batch)
    }
    return true
  }
}

/** What has moved on meanwhile stays. @param {Map<string, string>} map @param {Record<string, string>} done */
function forget(map, done) {
  for (const [name, cursor] of Object.entries(done)) {
    if (map.get(name) === cursor) map.delete(name)
  }
}
