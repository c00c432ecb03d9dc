import { accountOf } from './account.js'
import { Confirmer } from './confirm.js'
import { Credential } from './credential.js'
import { Delivery } from './delivery.js'
import { PushError } from './errors.js'
import { Hints } from './hints.js'
import { Http } from './http.js'
import { Outbox, outboxStore } from './outbox.js'
import { visible } from './page.js'
import { Puller } from './puller.js'
import { SESSION } from './state.js'
import { localStore, memoryStore } from './stores.js'
import { SharedHints, sharing } from './tabs.js'

/**
 * @typedef {import('./options.js').Options} Options
 * @typedef {import('./options.js').State} State
 *
 * Whom it works for.
 *
 * @typedef {object} Owner
 * @property {AbortSignal} closed
 * @property {() => void} end
 * @property {string} device
 * @property {import('./channel.js').Channel} own
 * @property {(name: string) => import('./channel.js').Channel | undefined} known
 * @property {(event: any, value: any) => boolean} emit
 * @property {(error: unknown, channel?: string) => void} failed
 */

/** What moves messages: hints, pulls, cursors and the outbox, put together. */
export class Engine {
  #env
  #owner
  /** @type {Hints | SharedHints | undefined} */
  #hints
  #confirmer
  #delivery
  #store = memoryStore()
  /** @type {string | undefined} by which transport hints arrive, if they do */
  #hinting
  /** @type {{state: State, transport?: string, reason?: string}} */
  state = { state: 'connecting' }

  /** @param {string} base @param {Options} options @param {import('./env.js').Env} env @param {Owner} owner */
  constructor(base, options, env, owner) {
    this.#env = env
    this.#owner = owner
    const credential = new Credential(options.token, env)
    this.http = new Http(base, credential, env, owner.closed)
    this.#confirmer = new Confirmer(env, (cursors, last) => this.#ack(cursors, last), owner.failed)
    this.#delivery = new Delivery(env, owner.closed, options.delivery ?? 'at-least-once', this.#confirmer, owner.failed)
    this.puller = new Puller(this.http, env, {
      take: (name, outcome) => this.#take(name, outcome),
      told: (name, cursor) => this.#confirmer.told(name, cursor),
      starts: async (names) => this.#store.load(names),
      notice: (notice) => this.#notice(notice),
      trouble: (error) => this.#trouble(error),
      final: (error) => this.stop(error)
    }, { mine: options.own ?? false, device: owner.device, interval: options.interval, visible })
    this.outbox = new Outbox(this.http, env, ({ id }, results, error) => owner.emit('sent', { id, results, error }))
    if (!(options.transports ?? ['sse']).length) this.puller.poll()
    /** Once it is known who is signed in. */
    this.ready = this.#begin(base, credential, options).catch((error) => this.stop(error))
  }

  // -- what is followed ------------------------------------------------------------------------------

  /** @param {import('./channel.js').Channel} channel */
  async follow(channel) {
    await this.ready
    let start = channel.after
    try {
      start = (await this.#store.load([channel.name]))[channel.name] ?? start
    } catch (error) {
      this.#owner.failed(error, channel.name)
    }
    if (this.#owner.closed.aborted || !channel.handlers('message').length) return
    this.puller.follow(channel.name, start)
    this.#hints?.changed()
  }

  /** @param {string} name */
  unfollow(name) {
    this.puller.unfollow(name)
    this.#hints?.dropped(name)
  }

  /** Where each followed channel is; undefined while only the server knows. */
  get cursors() {
    const following = this.puller.following
    return Object.fromEntries(following.names.map((name) => [name, following.cursor(name)]))
  }

  /** The network is back, or somebody looks. */
  wake() {
    this.puller.wake()
    this.#hints?.wake()
    this.outbox.wake()
  }

  /** What was processed is told now: one attempt. */
  confirm() {
    return this.#confirmer.now()
  }

  /** The user has read so far. @param {string} channel @param {string} cursor */
  wasRead(channel, cursor) {
    this.#notice({ type: 'read', channel, cursor })
  }

  // -- the parts ---------------------------------------------------------------------------------------

  /** @param {string} base @param {Credential} credential @param {Options} options */
  async #begin(base, credential, options) {
    const env = this.#env
    const { closed, device } = this.#owner
    const account = options.account ?? (await accountOf(credential, env, closed, (error) => this.#trouble(error)))
    if (closed.aborted) return
    const prefix = `pushd:${base}:${account}`
    if (options.store === 'local' && env.storage) this.#store = localStore(`${prefix}:cursor`, env.storage)
    else if (typeof options.store === 'object') this.#store = options.store
    this.#confirmer.store = this.#store
    this.outbox.open(outboxStore(`${prefix}:out:`, env.storage))
    const transports = options.transports ?? (env.WebSocket ? ['websocket', 'sse'] : ['sse'])
    const make = (/** @type {import('./hints.js').HintListener} */ listener) =>
      new Hints(base, device, transports, env, credential, listener)
    // Without knowing whose it is, a connection is nobody else's.
    const shared = account === '' || options.tabs === false || options.env ? undefined : sharing()
    this.#hints = shared && transports.length
      ? new SharedHints(`${prefix}:${device}`, shared, env, make, this.#listener())
      : make(this.#listener())
    for (const part of [this.#hints, this.puller, this.#confirmer, this.outbox]) {
      part.run(closed).catch((error) => this.stop(error))
    }
  }

  /** @returns {import('./hints.js').HintListener} */
  #listener() {
    return {
      // A session's own channels need no asking, and the next session has none of this one's.
      places: () => Object.fromEntries(Object.entries(this.cursors)
        .filter(([name]) => !name.startsWith(SESSION)).map(([name, cursor]) => [name, cursor ?? 'head'])),
      onFrame: (frame, kind) => this.#frame(frame, kind),
      onLost: (reason, wasLive) => {
        this.#hinting = undefined
        if (wasLive) this.say({ state: 'connecting', reason })
        else this.puller.poll()
      },
      onFinal: (error) => this.stop(error)
    }
  }

  // -- what comes ----------------------------------------------------------------------------------------

  /** @param {import('./types.js').Frame} frame @param {string} kind */
  #frame(frame, kind) {
    if (frame.type === 'hint') this.puller.hinted(frame)
    else if (frame.type === 'hello') {
      this.#hinting = kind
      this.say({ state: 'live', transport: kind })
      this.puller.live(frame)
    } else if (frame.type === 'subscribed') this.puller.learn(frame.heads ?? {})
    // Of a group that was left, say; or it is followed again since it was given up.
    else if (frame.type === 'unsubscribed') this.puller.suspect(frame.channels ?? [])
    else if (frame.type === 'read') this.#notice(frame)
    for (const { channel, code } of frame.denied ?? []) {
      // Of more channels than a session follows, some are pulled without hints.
      if (code !== 'too_large') this.#drop(channel, code, 'The server refuses this channel')
    }
    this.#owner.emit('frame', frame)
  }

  /** @param {string} name @param {import('./state.js').Outcome} outcome */
  #take(name, outcome) {
    const { known, own } = this.#owner
    /** @param {'message' | 'reset'} event */
    const handlers = (event) => () => [...(known(name)?.handlers(event) ?? []), ...own.handlers(event)]
    if (outcome.kind === 'messages') {
      const run = () => this.#delivery.run(name, outcome.messages, handlers('message'))
      if (!outcome.expiring) return run()
      const { messages, in_ms: inMs } = outcome.expiring
      const expiring = { channel: name, messages, inMs }
      known(name)?.emit('expiring', expiring)
      own.emit('expiring', expiring)
      return Promise.resolve().then(run) // who is slow is told before the page
    }
    if (outcome.kind === 'reset') {
      const reset = { ...outcome.reset, cursor: outcome.reset.resume }
      // Nothing is silent.
      if (!handlers('reset')().length) this.#owner.failed(new PushError(reset.code, reset.detail, { members: reset }), name)
      return this.#delivery.run(name, [reset], handlers('reset'))
    }
    if (outcome.kind === 'dropped') this.#drop(name, outcome.code, outcome.detail)
    return undefined
  }

  /** @param {string} name @param {string} code @param {string} detail */
  #drop(name, code, detail) {
    this.puller.unfollow(name)
    if (name.startsWith(SESSION)) return // it ended with its session: that is no news
    const dropped = { channel: name, code, detail }
    const told = this.#owner.known(name)?.emit('dropped', dropped)
    if (!told && !this.#owner.own.emit('dropped', dropped)) this.#owner.failed(new PushError(code, detail), name)
  }

  /** @param {import('./types.js').Frame} notice */
  #notice({ type, channel = '', cursor = '' }) {
    if (type !== 'read') return
    this.#owner.known(channel)?.emit('read', { channel, cursor })
    this.#owner.emit('read', { channel, cursor })
  }

  /** @param {Record<string, string>} cursors @param {boolean} last */
  async #ack(cursors, last) {
    if (!last && this.#hints?.send({ type: 'ack', cursors })) return
    await this.http.ask('POST', '/v1/ack', { cursors, device: this.#owner.device }, { keepalive: last })
  }

  // -- how it is -------------------------------------------------------------------------------------------

  /** @param {PushError | undefined} error undefined: the server answers */
  #trouble(error) {
    if (error) this.say({ state: 'offline', reason: error.message })
    else if (this.#hinting) this.say({ state: 'live', transport: this.#hinting })
    else if (this.puller.polling) this.say({ state: 'fallback', transport: 'poll' })
    else if (this.state.state === 'offline') this.say({ state: 'connecting' })
  }

  /** Nothing changes by going on. @param {PushError} error */
  stop(error) {
    if (this.#owner.closed.aborted) return
    this.#owner.failed(error)
    this.say({ state: 'closed', reason: error.message })
    this.#owner.end()
  }

  /** @param {{state: State, transport?: string, reason?: string}} state */
  say(state) {
    const { state: was, transport } = this.state
    if (was === 'closed' || (was === state.state && transport === state.transport)) return
    this.state = state
    this.#owner.emit('state', state)
  }
}
