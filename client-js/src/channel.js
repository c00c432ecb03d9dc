import { Emitter } from './emitter.js'

/**
 * @typedef {{
 *   message: import('./types.js').Message,
 *   reset: import('./types.js').ResetInfo & {cursor: string},
 *   expiring: import('./types.js').Expiring,
 *   read: {channel: string, cursor: string},
 *   dropped: {channel: string, code: string, detail: string}
 * }} ChannelEvents
 */

/**
 * One channel: messages in order, each once per cursor store.
 *
 * It is followed while somebody listens to `message`. A handler that returns a promise is waited
 * for; what it throws is told as `error` of the client, and the message comes again.
 *
 * @template [T=any] what `data` of a message is
 * @extends {Emitter<Omit<ChannelEvents, 'message'> & {message: import('./types.js').Message<T>}>}
 */
export class Channel extends Emitter {
  #client
  #followed = false

  /**
   * @param {import('./client.js').Client} client
   * @param {string} name
   */
  constructor(client, name) {
    super()
    this.#client = client
    this.name = name
    /** Where to begin when the store knows nothing: a cursor, `0` or `head`. @type {string | undefined} */
    this.after = undefined
  }

  /** Publish to this channel; resolves once it is on disk. @param {T} data @param {import('./options.js').PublishOptions} [options] */
  async publish(data, options) {
    const [result] = await this.#client.publish({ channels: [this.name] }, data, options)
    return result
  }

  /** The user has read up to `cursor`; other devices are told. @param {string} cursor */
  read(cursor) {
    return this.#client.read(this.name, cursor)
  }

  /**
   * A page backwards, in rising order; records nothing. For the page before it: `before` its first.
   *
   * @param {{before?: number | string, limit?: number, signal?: AbortSignal}} [options]
   * @returns {Promise<{messages: import('./types.js').Message[], more: boolean}>}
   */
  history(options) {
    return this.#client.history(this.name, options)
  }

  /** @override @param {any} event */
  changed(event) {
    if (event !== 'message') return
    const wanted = this.handlers('message').length > 0
    if (wanted === this.#followed) return
    this.#followed = wanted
    if (wanted) this.#client.follow(this)
    else this.#client.unfollow(this)
  }
}
