import { Backoff } from './backoff.js'
import { PushError } from './errors.js'
import { Wakeup } from './env.js'

const MOST = 1_000

/**
 * What waits to be published. Sent one after the other, with the id it was given here: a retry,
 * also after a reload, stores once.
 *
 * @typedef {{id: string, at: number, body: object}} Entry `at`: Unix milliseconds
 *
 * @typedef {object} OutboxStore
 * @property {() => Entry[]} load oldest first
 * @property {(entry: Entry) => void} add
 * @property {(id: string) => void} remove
 */
export class Outbox {
  #changed = new Wakeup()
  /** @type {Entry[]} */
  #entries = []
  /** @type {OutboxStore | undefined} */
  #store
  /** @type {Map<string, {resolve: (results: any) => void, reject: (error: unknown) => void}>} */
  #waiting = new Map()

  /**
   * @param {import('./http.js').Http} http
   * @param {import('./env.js').Env} env
   * @param {(entry: Entry, results: any, error: PushError | undefined) => void} onDone also of what
   *   an earlier page left
   */
  constructor(http, env, onDone) {
    this.http = http
    this.env = env
    this.onDone = onDone
  }

  /** Of whom it is, is known now. @param {OutboxStore} store */
  open(store) {
    this.#store = store
    this.#entries = store.load()
  }

  get size() {
    return this.#entries.length
  }

  /**
   * Resolves once it is on disk at the server; rejects when it never will be.
   *
   * @param {Entry} entry
   * @param {AbortSignal} [signal] takes it back while it was not begun
   * @returns {Promise<import('./types.js').Published[]>}
   */
  add(entry, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      if (this.#entries.length >= MOST) {
        return reject(new PushError('outbox_full', `${MOST} messages wait to be sent`))
      }
      // Of one millisecond, too, the order is kept across a reload.
      entry.at = Math.max(entry.at, (this.#entries.at(-1)?.at ?? 0) + 1)
      this.#store?.add(entry)
      this.#waiting.set(entry.id, { resolve, reject })
      this.#entries.push(entry)
      signal?.addEventListener('abort', () => {
        if (this.#sending !== entry.id && this.#settle(entry)) reject(signal.reason)
      })
      this.#changed.notify()
    })
  }

  /** @type {string | undefined} */
  #sending

  /** Try now. */
  wake() {
    this.#changed.notify()
  }

  /** @param {AbortSignal} closed */
  async run(closed) {
    const backoff = new Backoff(this.env.random)
    while (!closed.aborted) {
      const entry = this.#entries[0]
      if (!entry) {
        await this.#changed.wait(this.env, Infinity, closed)
        continue
      }
      this.#sending = entry.id
      try {
        const { results } = await this.http.ask('POST', '/v1/publish', entry.body)
        this.#finish(entry, undefined, results)
        backoff.reset()
      } catch (cause) {
        const error = cause instanceof PushError ? cause : new PushError('unreachable', String(cause))
        // 507 is a definite no, and so is every other refusal in pushd's own words.
        if (!error.transient && !error.foreign) this.#finish(entry, error)
        else await this.#changed.wait(this.env, backoff.next(error.retryAfterMs), closed)
      }
      this.#sending = undefined
    }
    for (const [, { reject }] of this.#waiting) reject(new PushError('closed', 'The client was closed'))
  }

  /** @param {Entry} entry @param {PushError | undefined} error @param {any} [results] */
  #finish(entry, error, results) {
    const waiting = this.#waiting.get(entry.id)
    if (!this.#settle(entry)) return
    if (error) waiting?.reject(error)
    else waiting?.resolve(results)
    this.onDone(entry, results, error)
  }

  /** False when it was settled before. @param {Entry} entry */
  #settle(entry) {
    const at = this.#entries.indexOf(entry)
    if (at < 0) return false
    this.#entries.splice(at, 1)
    this.#waiting.delete(entry.id)
    this.#store?.remove(entry.id)
    return true
  }
}

/**
 * Across reloads, an entry for each message: what another page sends as well is stored once.
 *
 * @param {string} prefix
 * @param {Storage | undefined} storage
 * @returns {OutboxStore}
 */
export function outboxStore(prefix, storage) {
  return {
    load() {
      const keys = Object.keys(storage ?? {}).filter((key) => key.startsWith(prefix))
      const entries = keys.flatMap((key) => {
        try {
          return [JSON.parse(storage?.getItem(key) ?? '')]
        } catch {
          return []
        }
      })
      return entries.sort((one, other) => one.at - other.at)
    },
    add: (entry) => storage?.setItem(prefix + entry.id, JSON.stringify(entry)),
    remove: (id) => storage?.removeItem(prefix + id)
  }
}
