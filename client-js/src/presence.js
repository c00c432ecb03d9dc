import { Emitter } from './emitter.js'

/** @typedef {{user: string, attributes: Record<string, any>}} Member */

/**
 * Who follows a topic, kept current: the list once, then joins and leaves as messages.
 *
 * @extends {Emitter<{change: {members: Member[]}}>}
 */
export class Presence extends Emitter {
  /** @type {Map<string, Member>} */
  #members = new Map()
  #client
  #over = new AbortController()
  #begun = false

  /** @param {import('./client.js').Client} client @param {string} topic */
  constructor(client, topic) {
    super()
    this.#client = client
    this.topic = topic
  }

  /** By name. */
  get members() {
    return [...this.#members.values()].sort((one, other) => (one.user < other.user ? -1 : 1))
  }

  /** @param {string} user */
  has(user) {
    return this.#members.has(user)
  }

  /** Begins with the first who listens. @override */
  changed() {
    if (this.#begun || !this.handlers('change').length) return
    this.#begun = true
    this.#load()
  }

  close() {
    this.#over.abort()
  }

  async #load() {
    const signal = this.#over.signal
    try {
      const { presence, cursor } = await this.#list()
      if (signal.aborted) return
      const channel = this.#client.channel(presence, { after: cursor })
      channel.on('message', (message) => this.#moved(message), { signal })
      // After a restart of the server, say: all is as the list says now.
      channel.on('reset', () => this.#list(), { signal })
    } catch (error) {
      if (signal.aborted || this.#client.closed.aborted) return
      if (/** @type {any} */ (error).transient) this.#client.later(1_000, () => this.#load())
      else this.#client.emit('error', { error, channel: this.topic })
    }
  }

  /** All pages; the cursor of the first one misses nothing. */
  async #list() {
    const path = `/v1/channels/${encodeURIComponent(this.topic)}/presence?limit=1000`
    const first = await this.#client.ask('GET', path, undefined, { signal: this.#over.signal })
    const members = new Map()
    for (let page = first; ; ) {
      for (const item of page.items) members.set(item.user, item)
      if (page.next === null) break
      page = await this.#client.ask('GET', `${path}&next=${encodeURIComponent(page.next)}`)
    }
    this.#members = members
    this.#tell()
    return first
  }

  /** @param {import('./types.js').Message} message */
  #moved({ type, data }) {
    if (type === 'join') this.#members.set(data.user, data)
    else if (type === 'leave') this.#members.delete(data.user)
    this.#tell()
  }

  #tell() {
    this.emit('change', { members: this.members })
  }
}
