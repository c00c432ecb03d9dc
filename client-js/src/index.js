export { connect, Client } from './client.js'
export { Channel } from './channel.js'
export { PushError } from './errors.js'
export { indexedStore, localStore, memoryStore } from './stores.js'
