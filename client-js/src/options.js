/**
 * @typedef {object} Options
 * @property {import('./credential.js').TokenOption} [token] or a function that gives a new one
 * @property {string} [account] who is signed in, where the token is no JWT: keeps apart what is kept
 * @property {string} [device] names this client for ever; made once and kept if left out
 * @property {'memory' | 'local' | import('./stores.js').CursorStore} [store]
 * @property {import('./delivery.js').Guarantee} [delivery]
 * @property {boolean} [own] also follow the user's inboxes, groups and `all`: see `Client.own`
 * @property {readonly import('./ladder.js').Transport[]} [transports] best first; [] for polls only
 * @property {boolean} [tabs] share one connection among the pages of this browser
 * @property {number} [interval] ms between pulls of everything, whatever hints say
 * @property {AbortSignal} [signal] closes the client
 * @property {typeof WebSocket} [WebSocket]
 * @property {typeof fetch} [fetch]
 * @property {Partial<import('./env.js').Env>} [env]
 *
 * @typedef {{id?: string, type?: string, signal?: AbortSignal}} PublishOptions
 *
 * @typedef {'connecting' | 'live' | 'fallback' | 'offline' | 'closed'} State
 *
 * @typedef {{
 *   state: {state: State, transport?: string, reason?: string},
 *   error: {error: unknown, channel?: string},
 *   read: {channel: string, cursor: string},
 *   sent: {id: string, results?: import('./types.js').Published[], error?: import('./errors.js').PushError},
 *   frame: import('./types.js').Frame
 * }} ClientEvents
 */

export {}
