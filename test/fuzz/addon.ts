/**
 * Preloaded into Jazzer.js. Its addon asks for glibc 2.38 and libstdc++ 13, of which it needs three functions: two new names
 * for strtol and strtoul, and one that older libraries do not need. Where they are older it loads a copy that asks for the
 * old names. ELF-64, little endian (System V ABI, "Dynamic Linking"; LSB, "Symbol Versioning").
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const SHT_DYNSYM = 11;
const SHT_GNU_VERNEED = 0x6ffffffe;
const SHT_GNU_VERSYM = 0x6fffffff;
const SYMBOL_BYTES = 24;
const ANY_VERSION = 1;
const VERSION_IS_WEAK = 2;
const NEWER = /^(?:GLIBC_2\.38|GLIBCXX_3\.4\.32)$/;
/** The name each function has in older libraries; the last does nothing that matters. */
const OLDER: ReadonlyMap<string, string> = new Map([
  ["__isoc23_strtol", "strtol"],
  ["__isoc23_strtoul", "strtoul"],
  ["_ZSt21ios_base_library_initv", "getpid"],
]);

const load = process.dlopen.bind(process) as (...args: readonly unknown[]) => void;
process.dlopen = (module: object, file: string, ...rest: readonly unknown[]): void => {
  try {
    load(module, file, ...rest);
  } catch (error) {
    if (!/version `GLIBC/.test(String(error))) throw error;
    const copy = copyForOlderLibraries(file);
    load(module, copy, ...rest);
    rmSync(copy);
  }
};

/** Returns the path of the copy. */
function copyForOlderLibraries(file: string): string {
  const directory = join(import.meta.dirname, "..", "..", ".cache", "fuzz");
  const copy = join(directory, `addon-${process.pid}.node`);
  mkdirSync(directory, { recursive: true });
  writeFileSync(copy, withOlderNames(readFileSync(file)));
  return copy;
}

interface Section {
  readonly type: number;
  readonly at: number;
  readonly size: number;
  readonly link: number;
  readonly count: number;
}

function withOlderNames(elf: Buffer): Buffer {
  const sections = sectionsOf(elf);
  const one = (type: number): Section => {
    const found = sections.find((section) => section.type === type);
    if (found === undefined) throw new Error("the addon is no shared object with symbol versions");
    return found;
  };
  const [symbols, versions, needs] = [one(SHT_DYNSYM), one(SHT_GNU_VERSYM), one(SHT_GNU_VERNEED)];
  const names = sections[symbols.link]?.at ?? 0;
  for (let i = 0; i < symbols.size / SYMBOL_BYTES; i++) {
    const at = symbols.at + i * SYMBOL_BYTES;
    const older = OLDER.get(textAt(elf, names + elf.readUInt32LE(at)));
    if (older === undefined) continue;
    elf.writeUInt32LE(elf.indexOf(`${older}\0`, names) - names, at);
    elf.writeUInt16LE(ANY_VERSION, versions.at + 2 * i);
  }
  forgiveVersions(elf, needs, names);
  return elf;
}

/** A version that a library lacks stops the loader, unless it is marked weak. */
function forgiveVersions(elf: Buffer, needs: Section, names: number): void {
  for (let entry = needs.at, i = 0; i < needs.count; i++, entry += elf.readUInt32LE(entry + 12)) {
    let version = entry + elf.readUInt32LE(entry + 8);
    for (let j = 0; j < elf.readUInt16LE(entry + 2); j++, version += elf.readUInt32LE(version + 12)) {
      if (NEWER.test(textAt(elf, names + elf.readUInt32LE(version + 8))))
        elf.writeUInt16LE(VERSION_IS_WEAK, version + 4);
    }
  }
}

function sectionsOf(elf: Buffer): readonly Section[] {
  const [table, size, count] = [Number(elf.readBigUInt64LE(40)), elf.readUInt16LE(58), elf.readUInt16LE(60)];
  return Array.from({ length: count }, (_, i) => {
    const at = table + i * size;
    return {
      type: elf.readUInt32LE(at + 4),
      at: Number(elf.readBigUInt64LE(at + 24)),
      size: Number(elf.readBigUInt64LE(at + 32)),
      link: elf.readUInt32LE(at + 40),
      count: elf.readUInt32LE(at + 44),
    };
  });
}

function textAt(elf: Buffer, at: number): string {
  return elf.toString("latin1", at, elf.indexOf(0, at));
}
