/**
 * A message, as handlers are given it.
 *
 * @template [T=any] what its data is
 * @typedef {object} Message
 * @property {string} channel
 * @property {string} epoch with `channel` and `seq`, the name of this message for ever
 * @property {number} seq
 * @property {string} cursor the position after it
 * @property {string} id
 * @property {string} type
 * @property {string} [sender] absent when a service published it
 * @property {number} at ms since 1970, set by the server
 * @property {T} data
 */

/**
 * What travels. Receivers ignore what they do not know.
 *
 * @typedef {Omit<Message, 'channel' | 'epoch' | 'cursor'>} Stored as an answer has it
 *
 * @typedef {object} Page
 * @property {string} channel
 * @property {string} epoch
 * @property {number} first
 * @property {number} head
 * @property {string} next
 * @property {boolean} more
 * @property {Stored[]} messages
 * @property {{messages: number, in_ms: number | null}} [expiring]
 *
 * @typedef {object} Head
 * @property {string} epoch
 * @property {number} first
 * @property {number} head
 * @property {string | null} delivered
 * @property {string | null} read
 * @property {number} [unread]
 *
 * @typedef {object} ResetInfo a complete answer was impossible
 * @property {string} channel
 * @property {string} code `expired`, `epoch_changed` or `cursor_ahead`
 * @property {string} resume where to go on after loading a snapshot
 * @property {number | null} skipped how many messages are gone, if that is known
 * @property {string} detail
 *
 * @typedef {object} Expiring so many messages, after those that follow here, are about to be removed
 * @property {string} channel
 * @property {number} messages
 * @property {number | null} inMs not before that time; null: when enough others come
 *
 * @typedef {object} Frame
 * @property {string} type
 * @property {Record<string, Head>} [heads]
 * @property {{channel: string, code: string}[]} [denied]
 * @property {string[]} [channels]
 * @property {string} [channel]
 * @property {string} [epoch]
 * @property {number} [seq]
 * @property {number} [jitter_ms]
 * @property {string} [cursor]
 * @property {string | null} [device]
 * @property {string} [session]
 * @property {number} [heartbeat_s]
 * @property {{interval_s: number, jitter_ms: number}} [pull]
 * @property {number} [code_number]
 * @property {any} [code]
 * @property {string} [reason]
 * @property {boolean} [reconnect]
 * @property {number} [retry_after_ms]
 * @property {string} [id]
 * @property {any} [data]
 * @property {string} [detail]
 *
 * @typedef {object} Targets
 * @property {string[]} [channels]
 * @property {string[]} [users]
 * @property {string[]} [groups]
 * @property {boolean} [all]
 *
 * @typedef {object} Published one target's result: it is on disk
 * @property {string} channel
 * @property {string} epoch
 * @property {number} seq
 * @property {string} id
 * @property {number} at
 * @property {boolean} [duplicate]
 * @property {boolean} [online]
 * @property {'unknown'} [state] of online: sessions of other nodes are not known for a while
 */

export {}
