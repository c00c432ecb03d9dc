import { Backoff } from './backoff.js'
import { sleep } from './env.js'

/** @typedef {'at-least-once' | 'at-most-once'} Guarantee */

/**
 * Hands what was pulled to the application: in order, one after the other, and each step is
 * finished before the next begins.
 */
export class Delivery {
  /**
   * @param {import('./env.js').Env} env
   * @param {AbortSignal} closed
   * @param {Guarantee} guarantee
   * @param {import('./confirm.js').Confirmer} confirmer
   * @param {(error: unknown, channel: string) => void} onError
   */
  constructor(env, closed, guarantee, confirmer, onError) {
    this.env = env
    this.closed = closed
    this.guarantee = guarantee
    this.confirmer = confirmer
    this.onError = onError
  }

  /**
   * @param {string} channel
   * @param {{cursor: string}[]} events of which each moves the channel to its cursor
   * @param {() => ((value: any) => unknown)[]} handlers whoever is there when its turn comes
   */
  async run(channel, events, handlers) {
    for (const event of events) {
      if (this.closed.aborted) return
      if (this.guarantee === 'at-most-once') {
        // Never handed out again: that has to be safe before it is handed out.
        await this.confirmer.before(channel, event.cursor)
        if (this.closed.aborted) return
        await this.#hand(channel, event, handlers, 1)
      } else if (await this.#hand(channel, event, handlers, Infinity)) {
        this.confirmer.took(channel, event.cursor)
      }
    }
  }

  /**
   * What fails is said, and tried again while `tries` last. False when the client was closed first.
   *
   * @param {string} channel
   * @param {object} event
   * @param {() => ((value: any) => unknown)[]} handlers
   * @param {number} tries
   */
  async #hand(channel, event, handlers, tries) {
    const backoff = new Backoff(this.env.random)
    const done = new Set()
    for (let left = tries; left > 0; left--) {
      let failed = false
      for (const handler of handlers()) {
        if (done.has(handler)) continue
        try {
          await handler(event)
          done.add(handler)
        } catch (error) {
          failed = true
          this.onError(error, channel)
        }
      }
      if (!failed) return true
      if (left > 1) await sleep(this.env, backoff.next(), this.closed)
      if (this.closed.aborted) return false
    }
    return true
  }
}
