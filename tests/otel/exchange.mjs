// OpenTelemetry's propagators on the other side of ours, both ways, with generated headers.
//
//   node exchange.mjs PEER [SEED]
//
// 1. They inject, we extract.  2. We inject, they extract.  3. Headers that were changed at random: both
// extract, and where the two differ one of the rules below must say why. docs/carriers.md has them in words.
import { spawnSync } from 'node:child_process';
import { ROOT_CONTEXT, TraceFlags, defaultTextMapGetter, defaultTextMapSetter, propagation, trace } from '@opentelemetry/api';
import { CompositePropagator, TraceState, W3CBaggagePropagator, W3CTraceContextPropagator } from '@opentelemetry/core';
import { B3InjectEncoding, B3Propagator } from '@opentelemetry/propagator-b3';

const [peer, seedText = '1'] = process.argv.slice(2);

// ---- chance ----

let state = BigInt(seedText) * 0x9e3779b97f4a7c15n + 1n;
function draw(below) {
    state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n);
    return Number((state >> 33n) % BigInt(below));
}
const pick = (list) => list[draw(list.length)];
const text = (length, characters) => Array.from({ length }, () => pick(characters)).join('');
const hex = (length) => text(length, [...'0123456789abcdef']);
const id = (length) => { for (;;) { const one = hex(length); if (/[^0]/.test(one)) return one; } };

const stateKey = () => pick([...'abcxyz']) + text(draw(12), [...'abc019_-*/']) + (draw(4) ? '' : '@' + pick([...'abz']) + text(draw(13), [...'ab0-']));
const stateValue = () => text(draw(30), [...' !"#$%&\'()*+-./09:;<>?@AZ[\\]^_`az{|}~']) + pick([...'!#09AZaz~']);
const word = () => text(1 + draw(12), [...'abcxyzABC019-_.~']);
const anyText = () => text(draw(24), [...'ab9 ,;=%"\\/+()<>äé€漢\u{1f600}\u0001\u007f\t\r\n']);

function newTrace() {
    return { traceId: id(32), spanId: id(16), sampled: draw(2) === 1 };
}
function newState() {
    const members = new Map();
    for (let i = draw(6); i > 0; i--) members.set(stateKey(), stateValue());
    return [...members].map(([k, v]) => `${k}=${v}`).join(',');
}
function newBaggage() {
    const entries = {};
    for (let i = 0; i < 8; i++) if (draw(2)) entries[`k${i}`] = { value: anyText() };
    for (let i = draw(4); i > 0; i--) entries['x' + word()] = { value: anyText() };
    return entries;
}

// ---- the two sides ----

const w3c = new CompositePropagator({ propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()] });
const theirs = {
    'tracecontext,baggage': w3c,
    b3: new B3Propagator(),
    b3multi: new B3Propagator({ injectEncoding: B3InjectEncoding.MULTI_HEADER }),
};
const names = Object.keys(theirs);

function theirExtract(name, headers) {
    const carrier = {};
    for (const [key, value] of headers) carrier[name === 'b3multi' ? key.toLowerCase() : key] = value;
    const context = theirs[name].extract(ROOT_CONTEXT, carrier, defaultTextMapGetter);
    const span = trace.getSpanContext(context);
    const baggage = propagation.getBaggage(context);
    return {
        trace: span && { traceId: span.traceId, spanId: span.spanId, sampled: (span.traceFlags & TraceFlags.SAMPLED) !== 0 },
        state: span?.traceState?.serialize() ?? '',
        baggage: Object.fromEntries((baggage?.getAllEntries() ?? []).map(([k, entry]) => [k, entry.value])),
    };
}

function theirInject(name, context) {
    let theirContext = trace.setSpanContext(ROOT_CONTEXT, {
        traceId: context.trace.traceId,
        spanId: context.trace.spanId,
        traceFlags: context.trace.sampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
        traceState: new TraceState(context.state),
    });
    theirContext = propagation.setBaggage(theirContext, propagation.createBaggage(context.baggage));
    const carrier = {};
    theirs[name].inject(theirContext, carrier, defaultTextMapSetter);
    return Object.entries(carrier).filter(([, value]) => value !== '');
}

// Requests for our side are gathered and sent at once.
let input = '';
const waiting = [];
function ask(lines, then) {
    input += lines.map((line) => line + '\n').join('') + '\n';
    waiting.push(then);
}
function askExtract(name, headers, then) {
    ask([`extract ${name}`, ...headers.map(([k, v]) => `${k}: ${v}`)], (answer) => {
        const ours = { state: '', baggage: {}, passing: '', malformed: 0 };
        for (const line of answer) {
            const [, what, rest] = /^(\w+) ?(.*)$/s.exec(line);
            if (what === 'trace') {
                const [traceId, spanId, sampled] = rest.split(' ');
                ours.trace = { traceId, spanId, sampled: sampled === '1' || sampled === 'd', decided: sampled !== '?' };
            } else if (what === 'state') ours.state = rest;
            else if (what === 'claim') {
                const [name, bytes = ''] = rest.split(' ');
                ours.baggage[name] = Buffer.from(bytes, 'hex').toString('utf8');
            } else if (what === 'passing') ours.passing = rest;
            else if (what === 'report') ours.malformed = Number(rest.split(' ')[0]);
        }
        for (const member of ours.passing.split(',').filter(Boolean)) {
            const [, key, value] = /^([^=]*?)\s*=\s*([^;]*?)\s*(?:;.*)?$/s.exec(member);
            if (!(key in ours.baggage)) ours.baggage[key] = safely(() => decodeURIComponent(value)) ?? value;
        }
        then(ours);
    });
}
function safely(call) {
    try { return call(); } catch { return undefined; }
}
function run() {
    const result = spawnSync(peer, [], { input: Buffer.from(input, 'latin1'), maxBuffer: 1 << 28 });
    if (result.status !== 0) {
        process.stderr.write(result.stderr);
        throw new Error(`the peer exited with ${result.status ?? result.signal}`);
    }
    let rest = result.stdout.toString('latin1').split('\n');
    for (const then of waiting) {
        const end = rest.indexOf('.');
        then(rest.slice(0, end));
        rest = rest.slice(end + 1);
    }
    input = '';
    waiting.length = 0;
}

// ---- keeping count ----

const counts = new Map();
let failures = 0;
const count = (what) => counts.set(what, (counts.get(what) ?? 0) + 1);
function fail(what, details) {
    if (failures++ < 10) console.error(`FAIL ${what}: ${JSON.stringify(details)}`);
}
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const sameTrace = (a, b) => (!a && !b) || (a && b && a.traceId === b.traceId && a.spanId === b.spanId && a.sampled === b.sampled);
const sorted = (record) => Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));

function withoutEmpty(record) {
    return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== ''));
}

// ---- 1. they inject, we extract ----

function theyInject() {
    const name = pick(names);
    const context = { trace: newTrace(), state: newState(), baggage: newBaggage() };
    const headers = theirInject(name, context);
    askExtract(name, headers, (ours) => {
        count(`they inject, we extract: ${name}`);
        const baggage = name.startsWith('b3') ? {} : Object.fromEntries(Object.entries(context.baggage).map(([k, v]) => [k, v.value]));
        const stateText = name.startsWith('b3') ? '' : context.state;
        if (!sameTrace(ours.trace, context.trace) || ours.state !== stateText || !same(sorted(ours.baggage), sorted(baggage)) || ours.malformed !== 0)
            fail('they inject', { headers, context, ours });
    });
}

// ---- 2. we inject, they extract ----

function weInject() {
    const name = pick(names);
    const context = { trace: newTrace(), state: newState(), baggage: {} };
    for (let i = 0; i < 8; i++) if (draw(2)) context.baggage[`k${i}`] = anyText();
    const decision = pick(['?', '0', '1', 'd']);
    context.trace.sampled = decision === '1' || decision === 'd';
    const lines = [`inject ${name}`, `trace ${context.trace.traceId} ${context.trace.spanId} ${decision}`];
    if (context.state !== '') lines.push(`state ${context.state}`);
    for (const [key, value] of Object.entries(context.baggage)) lines.push(`claim ${key} ${Buffer.from(value, 'utf8').toString('hex')}`);
    ask(lines, (answer) => {
        count(`we inject, they extract: ${name}`);
        const headers = answer.map((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]);
        const result = theirExtract(name, headers);
        const baggage = name.startsWith('b3') ? {} : context.baggage;
        const stateText = name.startsWith('b3') ? '' : context.state;
        // Known: their baggage propagator may drop empty values.
        if (!sameTrace(result.trace, context.trace) || result.state !== stateText ||
            !same(sorted(withoutEmpty(result.baggage)), sorted(withoutEmpty(baggage))))
            fail('we inject', { headers, context, result });
    });
}

// ---- 3. changed at random ----

function change(value) {
    const characters = [...'0123456789abcdefABCDEFgz-=,;%@_ .\t"'];
    let result = value;
    for (let i = 1 + draw(3); i > 0; i--) {
        const at = draw(result.length + 1);
        switch (draw(5)) {
        case 0: result = result.slice(0, at) + pick(characters) + result.slice(at); break;
        case 1: result = result.slice(0, at) + result.slice(at + 1); break;
        case 2: result = result.slice(0, at) + pick(characters) + result.slice(at + 1); break;
        case 3: result = result.slice(0, at); break;
        default: result = result + pick(['-', '-extra', ',', ';', ' ', '=', ',a=1', ';p', '%']);
        }
    }
    return result;
}

const trimmed = (value) => value.replace(/^[ \t]+|[ \t]+$/g, '');

// Each tells whether a difference is the one it is named for.
const explained = {
    traceparent: {
        'blanks: they take one on each side, we trim': (value) => /^[ \t]{2}|[ \t]{2}$/.test(value),
    },
    tracestate: {
        'one bad member: they drop it, we drop all, as the W3C says': (value, ours) => ours.state === '' &&
            trimmed(value).split(',').map(trimmed).filter(Boolean).some((m) => new TraceState(m).serialize() === ''),
        'a key twice: they keep one, we drop all': (value, ours) => {
            const keys = value.split(',').map(trimmed).filter(Boolean).map((m) => m.split('=')[0]);
            return ours.state === '' && new Set(keys).size !== keys.length;
        },
        'a key that begins with a digit: legal since level 2': (value) => value.split(',').map(trimmed).some((m) => /^[0-9]/.test(m)),
    },
    baggage: {
        'a bad escape: they lose all baggage, we leave out that member': (value, ours, other) => same(other.baggage, {}) &&
            value.split(',').some((m) => safely(() => decodeURIComponent(m)) === undefined),
        'not the grammar of a member: they take it, we leave it out': (value, ours, other) => {
            const grammar = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*=[ \t]*[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*[ \t]*(;[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*(=[ \t]*[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*)?[ \t]*)*$/;
            return ours.malformed === value.split(',').map(trimmed).filter(Boolean).filter((m) => !grammar.test(m)).length && ours.malformed > 0;
        },
        'a NUL in a value that a key claims: they take it, to us it is malformed': (value) => /(^|,)\s*k[0-7]\s*=[^,;]*%00/.test(value),
        'an escape in a name: they decode it, to us it is a part of the name': (value) => value.split(',').some((m) => m.split('=')[0].includes('%')),
        'an empty value: they may drop it': (value, ours, other) => same(sorted(withoutEmpty(ours.baggage)), sorted(withoutEmpty(other.baggage))),
    },
    b3: {
        'more around it: they search for ids anywhere, we read the whole': (value, ours) => !ours.trace &&
            !/^(?:[0-9a-fA-F]{16}){1,2}-[0-9a-fA-F]{16}(-[01d](-[0-9a-fA-F]{16})?)?$/.test(trimmed(value)),
        'upper case: they refuse it here, we read it': (value, ours) => ours.trace && /[A-F]/.test(value),
        'a decision alone: they ignore it, we keep it': (value, ours) => /^[01d]$/.test(trimmed(value)) && /^0+$/.test(ours.trace?.traceId ?? 'x'),
        'a parent of zeroes: they do not read parents': (value, ours) => !ours.trace && /-0{16}$/.test(trimmed(value)),
    },
    b3multi: {
        'a short trace id: they pad any, we take 16 or 32 digits': (value, ours, other, field) => field === 'X-B3-TraceId' &&
            ![16, 32].includes(trimmed(value).length),
        'blanks: they do not trim': (value) => trimmed(value) !== value,
        'a bad decision: they drop the trace, we only the decision': (value, ours, other, field) =>
            ['X-B3-Sampled', 'X-B3-Flags'].includes(field) && !other.trace && ours.trace && !ours.trace.decided,
        'no ids but a decision: they ignore it, we keep it': (value, ours, other) => !other.trace && ours.trace && /^0+$/.test(ours.trace.traceId),
        'upper case: they keep it, we write ids in lower case': (value, ours, other) => other.trace && ours.trace && other.trace.traceId.toLowerCase() === ours.trace.traceId &&
            other.trace.spanId.toLowerCase() === ours.trace.spanId,
        'true and false of any case': (value, ours, other, field) => field === 'X-B3-Sampled' && /^(true|false)$/i.test(value),
    },
};

function agree(name, ours, other) {
    return sameTrace(ours.trace, other.trace) && ours.state === other.state && same(sorted(ours.baggage), sorted(other.baggage));
}

function bothExtract() {
    const name = pick(names);
    const context = { trace: newTrace(), state: newState(), baggage: newBaggage() };
    const headers = theirInject(name, context);
    const changed = pick(headers);
    changed[1] = change(changed[1]);
    if (name === 'b3multi') for (const header of headers) header[0] = { 'x-b3-traceid': 'X-B3-TraceId', 'x-b3-spanid': 'X-B3-SpanId', 'x-b3-sampled': 'X-B3-Sampled', 'x-b3-flags': 'X-B3-Flags' }[header[0]] ?? header[0];
    const other = theirExtract(name, headers);
    askExtract(name, headers, (ours) => {
        count(`changed, both extract: ${name}`);
        if (agree(name, ours, other)) {
            count(`  the same`);
            return;
        }
        const [field, value] = changed;
        const rules = explained[field] ?? explained[name === 'b3multi' ? 'b3multi' : name === 'b3' ? 'b3' : field];
        const why = Object.entries(rules ?? {}).find(([, rule]) => rule(value, ours, other, field));
        if (why) count(`  ${field}: ${why[0]}`);
        else fail('both extract', { field, value, headers, ours, other });
    });
}

for (let i = 0; i < 3000; i++) theyInject();
for (let i = 0; i < 3000; i++) weInject();
for (let i = 0; i < 6000; i++) bothExtract();
run();
for (const [what, number] of counts) console.log(`${String(number).padStart(6)} ${what}`);
console.log(failures === 0 ? 'no difference is left unexplained' : `${failures} differences`);
process.exit(failures === 0 ? 0 : 1);
