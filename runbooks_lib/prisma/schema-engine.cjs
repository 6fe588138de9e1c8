#!/usr/bin/env node
// Stand-in for Prisma's native `schema-engine` binary.
//
// Prisma's command line does not touch the database itself: it starts `schema-engine`, a native program that
// Prisma's npm packages download from a host of their own. Where that host cannot be reached, Prisma's own
// WebAssembly build of the same engine (@prisma/schema-engine-wasm) does the same work, over a JavaScript
// driver (@prisma/adapter-pg). This script puts the native program's interface in front of it:
//
//   schema-engine --version
//   schema-engine [--datasource JSON|URL] cli can-connect-to-database | create-database
//   schema-engine [--datamodels FILE]... [--datasource JSON]      JSON-RPC 2.0, one message a line
//
// Prisma starts it when PRISMA_SCHEMA_ENGINE_BINARY names it. PostgreSQL only. Environment:
//
//   RUNBOOKS_PRISMA_PACKAGES   a folder whose node_modules has the three packages; else the project
//   RUNBOOKS_PRISMA_PASSWORD   the password of a database URL that has none: Prisma passes the URL on the
//                              command line, where every user of the machine can read it
//   RUNBOOKS_PRISMA_EXPECTED   JSON: the `system` (system_identifier), else when it was `started`, `database` and `role` that a connection has to
//                              show before anything else is done in it; what is left out is not looked at
//   RUNBOOKS_PRISMA_CALLER     the process that waits for the answer: when it is gone, this one ends
//   PRISMA_SCHEMA_ENGINE_LOCK_TIMEOUT   milliseconds to wait for the migration lock; 10000
'use strict'

const fs = require('node:fs')
const path = require('node:path')
const readline = require('node:readline')
const { randomUUID } = require('node:crypto')
const { createRequire } = require('node:module')
const { pathToFileURL } = require('node:url')

const LOCK_TIMEOUT_MS = Number(process.env.PRISMA_SCHEMA_ENGINE_LOCK_TIMEOUT ?? 10_000)
const ENGINE = '@prisma/schema-engine-wasm/schema_engine_bg'
const PACKAGES = [ENGINE, '@prisma/driver-adapter-utils', '@prisma/adapter-pg']

// --- packages ----------------------------------------------------------------------------------------------

// All three from one folder: the engine and the adapter agree on an interface that changes between versions.
function findPackages() {
  const given = process.env.RUNBOOKS_PRISMA_PACKAGES
  const folders = given ? [given] : [process.cwd(), __dirname]
  for (const folder of folders) {
    const require_ = createRequire(path.join(folder, 'package.json'))
    try {
      for (const name of PACKAGES) require_.resolve(name)
      return require_
    } catch (e) {
      if (e.code !== 'MODULE_NOT_FOUND') throw e
    }
  }
  throw new Error(`the packages ${PACKAGES.join(', ')} are not installed in any of: ${folders.join(', ')}`)
}

const packages = findPackages()
const engineFolder = path.dirname(packages.resolve(ENGINE))
const engineVersion = JSON.parse(fs.readFileSync(path.join(engineFolder, 'package.json'), 'utf8')).version
const { ColumnTypeEnum, bindMigrationAwareSqlAdapterFactory } = packages('@prisma/driver-adapter-utils')
const { PrismaPg } = packages('@prisma/adapter-pg')
const pg = createRequire(packages.resolve('@prisma/adapter-pg'))('pg')

// --- command line ------------------------------------------------------------------------------------------

// Prisma 6 gives a bare URL, Prisma 7 and the RPC mode an object in JSON.
const parseDatasource = (text) => (text.startsWith('{') ? JSON.parse(text) : { url: text })

function parseArguments(argv) {
  const options = { datamodels: [], datasource: undefined, command: undefined, version: false }
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i]
    if (arg === '--version' || arg === '-V') options.version = true
    else if (arg === '--datamodels' || arg === '-d') options.datamodels.push(argv[++i])
    else if (arg === '--datasource') options.datasource = parseDatasource(argv[++i])
    else if (arg === '--enabled-preview-features' || arg === '--extension-types') i++
    else if (arg !== 'cli') options.command = arg
  }
  return options
}

const options = parseArguments(process.argv.slice(2))
const schemaFiles = options.datamodels.map((file) => [file, fs.readFileSync(file, 'utf8')])

// The engine's log: one JSON object a line on stderr, which is where Prisma looks for an error's code.
const log = (level, fields, target) =>
  process.stderr.write(JSON.stringify({ timestamp: new Date().toISOString(), level, fields, target }) + '\n')

const userError = (code, message) => Object.assign(new Error(message), { code })

// --- which database ----------------------------------------------------------------------------------------

// Prisma 6 keeps the address in the schema: for migrations `directUrl` wins, as in the native engine.
function urlFromSchema(files) {
  for (const [, text] of files) {
    const block = /^\s*datasource\s+\w+\s*\{([^}]*)\}/m.exec(text)?.[1]
    if (block === undefined) continue
    for (const key of ['directUrl', 'url']) {
      const value = '(?:env\\(\\s*"([^"]+)"\\s*\\)|"([^"]+)")'
      const found = new RegExp(`^\\s*${key}\\s*=\\s*${value}`, 'm').exec(block)
      if (!found) continue
      const url = found[1] ? process.env[found[1]] : found[2]
      if (!url) throw userError('P1012', `Environment variable not found: ${found[1]}.`)
      return url
    }
  }
  return undefined
}

function databaseUrl() {
  const url = options.datasource?.directUrl ?? options.datasource?.url ?? urlFromSchema(schemaFiles)
  if (!url) throw userError('P1012', 'No database URL: neither --datasource nor the schema has one.')
  return url
}

// Settings of the `pg` driver for a Prisma URL. Prisma knows disable, prefer and require, and keeps apart
// whether the certificate is checked (sslaccept). `prefer` means plain text here: the driver cannot try both.
function parseUrl(text) {
  const url = new URL(text)
  const query = url.searchParams
  const schema = query.get('schema') ?? 'public'
  const searchPath = `"${schema.replaceAll('"', '""')}"`.replace(/[\\ ]/g, '\\$&')
  const strict = query.get('sslaccept') === 'strict'
  const password = url.password ? decodeURIComponent(url.password) : process.env.RUNBOOKS_PRISMA_PASSWORD
  const ca = query.get('sslcert') ? fs.readFileSync(query.get('sslcert'), 'utf8') : undefined
  return {
    schema,
    config: {
      host: query.get('host') ?? decodeURIComponent(url.hostname || 'localhost').replace(/^\[|\]$/g, ''),
      port: Number(url.port || 5432),
      database: decodeURIComponent(url.pathname.slice(1)) || 'postgres',
      user: decodeURIComponent(url.username),
      password: password || undefined,
      connectionTimeoutMillis: 1000 * Number(query.get('connect_timeout') ?? 5),
      options: `${query.get('options') ?? ''} -c search_path=${searchPath}`.trim(), // as the native engine; adapter-pg leaves it to the server
      application_name: query.get('application_name') ?? 'prisma-schema-engine-wasm',
      ssl: query.get('sslmode') === 'require' ? { rejectUnauthorized: strict, ca } : undefined,
    },
  }
}

// --- is it the right one ---------------------------------------------------------------------------------

const EXPECTED = JSON.parse(process.env.RUNBOOKS_PRISMA_EXPECTED || '{}')
const WHO = {
  system: '(SELECT system_identifier::text FROM pg_control_system())', // which not every role may ask
  started: 'extract(epoch FROM pg_postmaster_start_time())::text',
  database: 'current_database()::text',
  role: 'current_user::text',
}

// Before anything is written: is this the server, the database and the role that the caller has looked at?
async function refuseStranger(client) {
  const asked = Object.keys(EXPECTED)
  if (!asked.length) return
  const found = (await client.query(`SELECT ${asked.map((what) => `${WHO[what]} AS ${what}`).join(', ')}`)).rows[0]
  for (const [what, value] of Object.entries(EXPECTED))
    if (found[what] !== value)
      throw new Error(`Refused, and nothing was written: the ${what} is ${found[what]}, and ${value} was expected.`)
}

// --- driver adapter ----------------------------------------------------------------------------------------

// adapter-pg is made for queries, not for migrations. Its four faults, each mended here:
// 1. it refuses the catalogue's types "char" (OID 18) and name (OID 19);
// 2. it cuts scripts at every semicolon, also in comments and in DO $$ bodies;
// 3. it does not set search_path (see parseUrl);
// 4. the engine gives up waiting for the migration lock by a timer that cancels nothing.
const OID_CHAR = 18
const OID_NAME = 19
const OID_TEXT = 25
const LOCK_NOT_AVAILABLE = '55P03'
let lockIsHeld = false // whether the last wait for the migration lock ended without it
let scriptError // what the driver said of the last script that failed

function readCatalogueTypes(queryable) {
  let charColumns = [] // of the last query: the engine runs one at a time on each queryable
  const performIO = queryable.performIO.bind(queryable)
  queryable.performIO = async (query) => {
    const result = await performIO(query)
    charColumns = []
    for (const [i, field] of (result.fields ?? []).entries()) {
      if (field.dataTypeID === OID_CHAR) charColumns.push(i)
      if (field.dataTypeID === OID_CHAR || field.dataTypeID === OID_NAME) field.dataTypeID = OID_TEXT
    }
    return result
  }
  const queryRaw = queryable.queryRaw.bind(queryable)
  queryable.queryRaw = async (query) => {
    const result = await queryRaw(query)
    for (const i of charColumns) {
      result.columnTypes[i] = ColumnTypeEnum.Character
      for (const row of result.rows) if (row[i] === '') row[i] = '\0' // how "char" says "nothing"
    }
    return result
  }
  return queryable
}

// A statement whose client is gone would run on and commit; PostgreSQL 14 and newer can look (on Linux).
async function endWithUs(client) {
  const name = 'client_connection_check_interval'
  await client.query(`SELECT set_config(name, '500', false) FROM pg_settings WHERE name = '${name}'`).catch(() => {})
}

async function openAdapter(config, schema, shadow = false) {
  const factory = new PrismaPg({ ...config, max: 1, idleTimeoutMillis: 0 }, { schema })
  const adapter = readCatalogueTypes(await factory.connect())
  if (!shadow) await refuseStranger(adapter.client)
  await endWithUs(adapter.client)
  const startTransaction = adapter.startTransaction.bind(adapter)
  adapter.startTransaction = async (level) => readCatalogueTypes(await startTransaction(level))
  // One simple-protocol query, which the server takes as one implicit transaction.
  adapter.executeScript = async (script) => {
    try {
      await adapter.client.query(script)
    } catch (e) {
      scriptError = e
      adapter.onError(e)
    }
  }
  const executeRaw = adapter.executeRaw.bind(adapter)
  adapter.executeRaw = async (query) => {
    if (!query.sql.includes('pg_advisory_lock')) return executeRaw(query)
    await adapter.client.query(`SET lock_timeout = ${LOCK_TIMEOUT_MS}`)
    try {
      return await executeRaw(query)
    } catch (e) {
      // remembered here, since the engine passes on the message only
      lockIsHeld = (e.cause?.originalCode ?? e.code) === LOCK_NOT_AVAILABLE
      throw e
    } finally {
      await adapter.client.query('RESET lock_timeout')
    }
  }
  return adapter
}

class AdapterFactory {
  constructor(url) {
    Object.assign(this, parseUrl(url), { provider: 'postgres', adapterName: '@prisma/adapter-pg' })
  }

  connect() {
    return openAdapter(this.config, this.schema)
  }

  // adapter-pg drops the shadow database while its own pool still holds connections to it.
  async connectToShadowDb() {
    const database = `prisma_migrate_shadow_db_${randomUUID()}`
    const admin = await this.connect()
    await admin.executeScript(`CREATE DATABASE "${database}"`)
    const shadow = await openAdapter({ ...this.config, database }, this.schema, true)
    const dispose = shadow.dispose.bind(shadow)
    shadow.dispose = async () => {
      await dispose()
      await admin.executeScript(`DROP DATABASE IF EXISTS "${database}"`)
      await admin.dispose()
    }
    return shadow
  }
}

// --- errors ------------------------------------------------------------------------------------------------

const NOT_REACHABLE = new Set([
  ...['ECONNREFUSED', 'ECONNRESET', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH'],
  ...['EAI_AGAIN', 'ENOENT', 'EACCES', 'ETIMEDOUT'],
])
const TIMED_OUT = /connection (?:timeout|terminated due to connection timeout)|timeout expired/i

// A failed connection in the words of the native engine; undefined when the error is something else.
function connectionError(code, message, { host, port, user, database }) {
  const at = `\`${host}:${port}\``
  const isItRunning = `Please make sure your database server is running at ${at}.`
  if (NOT_REACHABLE.has(code) || TIMED_OUT.test(message))
    return userError('P1001', `Can't reach database server at ${at}\n\n${isItRunning}`)
  if (code === '28P01' || code === '28000') {
    const refused = `the provided database credentials for \`${user}\` are not valid.`
    const advice = 'Please make sure to provide valid database credentials for the database server at the configured address.'
    return userError('P1000', `Authentication failed against database server, ${refused}\n\n${advice}`)
  }
  if (code === '3D000') return userError('P1003', `Database \`${database}\` does not exist`)
  if (code === LOCK_NOT_AVAILABLE) {
    const waited = `Timed out trying to acquire a postgres advisory lock (SELECT pg_advisory_lock(72707369)). Timeout: ${LOCK_TIMEOUT_MS}ms.`
    const more = 'See https://pris.ly/d/migrate-advisory-locking for details.'
    const tried = `The database server at ${at} was reached but timed out.\n\nPlease try again.\n\n${isItRunning}`
    return userError('P1002', `${tried}\n\nContext: ${waited} ${more}`)
  }
  return undefined
}

// A migration whose script failed, in the words of the native engine: ours names it, but has no code for it.
function failedMigration(message) {
  const name = /apply_migration::apply_script\s+with migration_name="([^"]+)"/.exec(message)?.[1]
  if (!name || !scriptError) return undefined
  const more = 'New migrations cannot be applied before the error is recovered from. Read more about how to resolve migration issues in a production database: https://pris.ly/d/migrate-resolve'
  const said = [scriptError.message, scriptError.detail, scriptError.hint].filter(Boolean).join('\n')
  const parts = [`A migration failed to apply. ${more}`, `Migration name: ${name}`]
  parts.push(`Database error code: ${scriptError.code ?? 'none'}`, `Database error:\nERROR: ${said}`)
  return userError('P3018', parts.join('\n\n'))
}

// A shadow database that the role may not make, in the words of the native engine.
function noShadow(message) {
  if (!message.startsWith('Failed to connect to the shadow database') || !scriptError) return undefined
  const may = 'Please make sure the database user has permission to create databases.'
  const more = 'Read more about the shadow database (and workarounds) at https://pris.ly/d/migrate-shadow'
  const failed = `Prisma Migrate could not create the shadow database. ${may} ${more}`
  return userError('P3014', `${failed}\n\nOriginal error: \nERROR: ${scriptError.message}`)
}

// What to tell Prisma of whatever was thrown: by the driver, by the adapter (DriverAdapterError, whose cause
// keeps the SQLSTATE) or by the engine (an object with a code of Prisma's own).
function describe(thrown, config) {
  const e = thrown?.name === 'DriverAdapterError' ? thrown.cause : thrown
  // Node tries IPv6 and IPv4; when both fail it throws an AggregateError without a message of its own.
  const message = thrown?.message || e?.message || thrown?.errors?.[0]?.message || String(thrown)
  let code = e?.originalCode ?? e?.code
  if (lockIsHeld) code = LOCK_NOT_AVAILABLE
  else if (e?.kind === 'DatabaseNotReachable') code = 'ECONNREFUSED'
  const known = failedMigration(message) ?? noShadow(message) ?? connectionError(code, message, config ?? {})
  return known ?? userError(thrown?.code, e?.originalMessage ?? message)
}

// --- `cli` mode --------------------------------------------------------------------------------------------

async function connectOnce(config) {
  const client = new pg.Client(config)
  await client.connect()
  return client
}

async function lookOnce(config) {
  const client = await connectOnce(config)
  try {
    await refuseStranger(client)
  } finally {
    await client.end()
  }
}

async function createDatabase(config) {
  if (EXPECTED.database) throw new Error('Refused: the database that was expected is not there, and none is made.')
  const elsewhere = config.database === 'postgres' ? 'template1' : 'postgres'
  const client = await connectOnce({ ...config, database: elsewhere })
  await client.query(`CREATE DATABASE ${client.escapeIdentifier(config.database)}`)
  await client.end()
  log('INFO', { message: 'The database was successfully created.' }, 'schema_engine::commands')
}

async function runCommand() {
  // Prisma skips the first line, whatever it is.
  log('INFO', { message: 'Starting schema engine CLI', git_hash: engineVersion }, 'schema_engine')
  let config
  try {
    config = parseUrl(databaseUrl()).config
    if (options.command === 'can-connect-to-database') await lookOnce(config)
    else if (options.command === 'create-database') await createDatabase(config)
    else throw new Error(`unknown command: ${options.command}`)
    return 0
  } catch (thrown) {
    const { code, message } = describe(thrown, config)
    log('ERROR', { is_panic: false, error_code: code ?? 'P1010', message }, 'schema_engine::logger')
    return 1
  }
}

// --- JSON-RPC mode -----------------------------------------------------------------------------------------

let factory // of the one database that this process talks to
let bound
let enginePromise

async function startEngine() {
  factory = new AdapterFactory(databaseUrl())
  bound = bindMigrationAwareSqlAdapterFactory(factory)
  const glue = await import(pathToFileURL(path.join(engineFolder, 'schema_engine_bg.js')).href)
  const module_ = new WebAssembly.Module(fs.readFileSync(path.join(engineFolder, 'schema_engine_bg.wasm')))
  const instance = new WebAssembly.Instance(module_, { './schema_engine_bg.js': glue })
  glue.__wbg_set_wasm(instance.exports)
  instance.exports.__wbindgen_start()
  const debug = (line) => process.stderr.write(line.trimEnd() + '\n')
  return glue.SchemaEngine.new({ datamodels: schemaFiles.length ? schemaFiles : undefined }, debug, bound)
}

// Inside the engine a driver's error is only a number; the error itself waits in the adapter's registry.
const unwrap = (thrown) => bound?.errorRegistry?.consumeError?.(thrown?.id ?? -1)?.error ?? thrown

const EMPTY_SCHEMA = {
  path: 'x.prisma',
  content: 'datasource db {\n  provider = "postgresql"\n  url = "postgresql://x"\n}\n',
}

// `diff` and `dbExecute` name their databases in the parameters, and the native engine connects to any number
// of them. The WebAssembly engine knows one, the adapter's: it is taken from whichever side has one.
function takeDatabaseFrom(method, params) {
  const adopt = (url) => {
    if (!options.datasource?.url && url) options.datasource = { url }
  }
  const fromFiles = (files) => urlFromSchema(files.map((file) => [file.path, file.content]))
  if (method === 'dbExecute') {
    const source = params.datasourceType
    adopt(source.tag === 'url' ? source.url : fromFiles(source.files))
  } else if (method === 'diff') {
    for (const side of ['from', 'to']) {
      const target = params[side]
      if (target?.tag === 'schemaDatasource') adopt(fromFiles(target.files))
      if (target?.tag !== 'url') continue
      adopt(target.url)
      params[side] = { tag: 'schemaDatasource', configDir: process.cwd(), files: [EMPTY_SCHEMA] }
    }
    adopt(params.shadowDatabaseUrl)
  }
}

async function call(method, params) {
  takeDatabaseFrom(method, params)
  if (method === 'ensureConnectionValidity') {
    await lookOnce(parseUrl(databaseUrl()).config)
    return {}
  }
  const engine = await (enginePromise ??= startEngine())
  return (await engine[method === 'getDatabaseVersion' ? 'version' : method](params)) ?? null
}

const send = (message) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', ...message }) + '\n')
let printId = 0

async function answer({ id, method, params }) {
  try {
    const result = await call(method, params)
    if (method === 'diff' && result.stdout != null) {
      // the native engine prints through Prisma
      send({ id: ++printId, method: 'print', params: { content: result.stdout } })
      result.stdout = null
    }
    send({ id, result })
  } catch (thrown) {
    const { code, message } = describe(unwrap(thrown), factory?.config)
    const data = { is_panic: false, message, meta: null, ...(code ? { error_code: code } : {}) }
    send({ id, error: { code: 4466, message: 'An error happened. Check the data field for details.', data } })
  }
}

function serve() {
  log('INFO', { message: 'Starting schema engine RPC server', git_hash: engineVersion }, 'schema_engine')
  let queue = Promise.resolve() // one request at a time, in the order they came
  const lines = readline.createInterface({ input: process.stdin, crlfDelay: Infinity })
  lines.on('line', (line) => {
    const message = line.trim() ? JSON.parse(line) : {}
    if (message.method) queue = queue.then(() => answer(message)) // what has no method answers our `print`
  })
  const finish = () => queue.finally(() => process.exit(0))
  lines.on('close', finish)
  process.on('SIGTERM', finish)
}

function endWithCaller() {
  const caller = Number(process.env.RUNBOOKS_PRISMA_CALLER)
  const look = () => {
    try {
      process.kill(caller, 0)
    } catch {
      process.exit(1)
    }
  }
  if (caller) setInterval(look, 500).unref()
}

endWithCaller()
if (options.version) console.log(`schema-engine-cli ${engineVersion.split(/[.-]/).pop()}`)
else if (options.command) runCommand().then((code) => process.exit(code))
else serve()
