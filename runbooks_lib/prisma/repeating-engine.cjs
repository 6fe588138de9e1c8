#!/usr/bin/env node
// Stands between Prisma's command line and its schema engine, and lets one start of both record many migrations.
//
// `prisma migrate resolve` takes one name. The request that it makes of its engine (markMigrationApplied,
// markMigrationRolledBack) is made for each name of a list here, word for word but for the name, one after the other,
// until one is refused. Prisma's command line gets the answer to the last one that was made. Everything else passes
// through. Environment:
//
//   RUNBOOKS_PRISMA_ENGINE   the engine: Prisma's own, or our stand-in
//   RUNBOOKS_PRISMA_NAMES    a file with the names, a JSON list, in the order in which they are recorded
//   RUNBOOKS_PRISMA_DONE     a file to which each name is added when the engine has recorded it, one a line
//   RUNBOOKS_PRISMA_CALLER   the process that wants it: no name is begun when it is gone
'use strict'

const fs = require('node:fs')
const readline = require('node:readline')
const { spawn } = require('node:child_process')

const RECORDS = ['markMigrationApplied', 'markMigrationRolledBack']
const { RUNBOOKS_PRISMA_ENGINE, RUNBOOKS_PRISMA_NAMES, RUNBOOKS_PRISMA_DONE, RUNBOOKS_PRISMA_CALLER } = process.env

const given = process.argv.slice(2)
const serves = !given.includes('cli') && !given.includes('--version')
const stdio = serves ? ['pipe', 'pipe', 'inherit'] : 'inherit'
const engine = spawn(RUNBOOKS_PRISMA_ENGINE, given, { stdio })
engine.on('error', (e) => {
  process.stderr.write(`${e.message}\n`)
  process.exit(1)
})
engine.on('exit', (code) => process.exit(code ?? 1))
process.on('SIGTERM', () => engine.kill())

function isWanted() {
  try {
    return process.kill(Number(RUNBOOKS_PRISMA_CALLER), 0) // asks whether it is there
  } catch {
    return false
  }
}

if (serves) {
  const names = JSON.parse(fs.readFileSync(RUNBOOKS_PRISMA_NAMES, 'utf8'))
  let request // the one that is made for each name
  let at = 0
  const ask = (message) => engine.stdin.write(JSON.stringify(message) + '\n')
  const askForName = () => ask({ ...request, params: { ...request.params, migrationName: names[at] } })

  readline.createInterface({ input: process.stdin }).on('line', (line) => {
    const message = JSON.parse(line)
    if (!RECORDS.includes(message.method)) return ask(message)
    request = message
    askForName()
  }).on('close', () => engine.stdin.end())

  readline.createInterface({ input: engine.stdout }).on('line', (line) => {
    const message = JSON.parse(line)
    if (request && message.id === request.id && !message.method) {
      if (!message.error) {
        fs.appendFileSync(RUNBOOKS_PRISMA_DONE, `${names[at++]}\n`)
        if (at < names.length) return isWanted() ? askForName() : engine.kill()
      }
      request = undefined
    }
    process.stdout.write(line + '\n')
  })
}
