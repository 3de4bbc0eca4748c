import ArgumentParser
import Evidence
import Foundation
import GuestMemory
import IOMMUModel
import Investigation
import PageTables
import RISCVIOMMU
import Reports
import XuanTie

/// The command line: what the GDB commands say, from recorded evidence.
@main struct IOMMULens: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "iommulens", abstract: "Reads IOMMU investigations and I/O page tables without a debugger.",
    version: "0.1.0",
    subcommands: [
      Import.self, Show.self, Check.self, Diagnose.self, ExportReport.self, Template.self, ShowTimeline.self,
      WalkTable.self, DumpTable.self,
    ])

  /// The IOMMU families that this command line knows.
  static let tenants: [any Tenant.Type] = [XuanTie.self, RISCVIOMMU.self]

  /// How its sessions are named in an investigation.
  static let side = "command line"
}

/// `iommulens import`.
struct Import: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Takes in evidence from texts: backtraces, logs, configurations, traces, whatever somebody pasted.")
  @Argument(help: "Texts.") var files: [String]
  @Option(
    name: [.customShort("o"), .customLong("investigation")],
    help: "The investigation file to start or to add to, *.iommulens.")
  var investigation = "investigation.iommulens"

  func run() throws {
    print(
      try Terminal.imported(files, tenants: IOMMULens.tenants) { () throws(InvestigationError) in
        try InvestigationStore(path: investigation, side: IOMMULens.side)
      })
  }
}

/// The investigation file that a command reads.
struct InvestigationFile: ParsableArguments {
  @Argument(help: "An investigation file, *.iommulens.") var file: String

  /// The file; an error rather than a new one when it does not exist.
  func open() throws -> InvestigationStore { try InvestigationStore(existing: file, side: IOMMULens.side) }

  /// What follows from it.
  func findings() throws -> Findings { try Findings(offline: open(), tenants: IOMMULens.tenants) }
}

/// `iommulens show`.
struct Show: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Lists what an investigation holds.")
  @OptionGroup var file: InvestigationFile

  func run() throws {
    let store = try file.open()
    print(try Terminal.opened(store))
    let version = try store.facts()[Fact.banner].flatMap(KernelVersion.init(banner:))
    for call in try store.calls() { print(Terminal.call(call, version: version)) }
  }
}

/// `iommulens check`.
struct Check: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Compares the recorded calls with the tables and the device; worst first.")
  @OptionGroup var file: InvestigationFile
  @Flag(help: "All ranges, not only the worst twenty.") var all = false

  func run() throws {
    let findings = try file.findings()
    print(Terminal.check(of: findings, limit: all ? nil : Terminal.worstRanges))
  }
}

/// `iommulens diagnose`.
struct Diagnose: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Names the causes that explain what disagrees, best first.")
  @OptionGroup var file: InvestigationFile

  func run() throws { print(Terminal.diagnosis(of: try file.findings())) }
}

/// `iommulens export`.
struct ExportReport: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export", abstract: "Writes an investigation as Markdown, JSON, CSV or a picture.",
    discussion: "The ending of the file to write decides. An older file is replaced when the new one is complete.")
  @OptionGroup var file: InvestigationFile
  @Argument(help: "The file to write: *.md, *.json, *.csv or *.svg.") var output: String
  @Option(help: "For .md: a template instead of the one that `iommulens template` prints.") var template: String?
  @Option(help: "For .csv: calls, translations, registers, log or verifications; default calls.") var events: String?
  @Option(help: "For .svg: map or walk; default map.") var picture: String?

  func run() throws {
    let export = try Export(to: output, template: template, events: events, picture: picture)
    let store = try file.open()
    try export.write(Findings(offline: store, tenants: IOMMULens.tenants), of: store)
  }
}

/// `iommulens template`.
struct Template: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Prints the template of a Markdown report, to start one's own from.")

  func run() { print(Report.template, terminator: "") }
}

/// `iommulens timeline`.
struct ShowTimeline: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "timeline", abstract: "Lists what was seen on all sides, in order.")
  @OptionGroup var file: InvestigationFile
  @Option(help: "Only so many entries at the end.") var last: Int?
  @Option(help: "Only what is about these IOVAs: A or A-B, inclusive.") var iova: String?

  func run() throws {
    if let last, last < 1 { throw ValidationError("--last must be at least 1, not \(last).") }
    let iovas = try iova.map(range)
    try Terminal.timeline(of: file.open(), iovas: iovas, last: last, tenants: IOMMULens.tenants) {
      print($0, terminator: "")
    }
  }
}

/// `A` or `A-B`, both inclusive.
func range(_ text: String) throws -> ClosedRange<IOVA> {
  let ends = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
  let (first, last) = (IOVA(try number(ends[0])), IOVA(try number(ends[ends.count - 1])))
  guard first <= last else { throw ValidationError("The range \(text) ends before it starts.") }
  return first...last
}

/// Where tables are read from, and which.
struct TableSource: ParsableArguments {
  @Option(help: "A guest's RAM file, with the address it starts at: FILE@0x80000000.") var ram: String?
  @Option(help: "A core of `dump-guest-memory`.") var core: String?
  @Option(help: "An investigation file: its last snapshot.") var investigation: String?
  @Option(help: "The root table's guest-physical address.") var root: String
  @Option(help: "The tables' format: sv32, sv39, sv48, sv57.") var mode: String = "sv39"

  /// The memory to read.
  func memory() throws -> any PhysicalMemory {
    let given = [ram, core, investigation].compactMap { $0 }
    guard given.count == 1 else { throw ValidationError("Name one of --ram, --core and --investigation.") }
    if let core { return try ELFCoreMemory(path: core) }
    if let investigation {
      let store = try InvestigationStore(existing: investigation, side: IOMMULens.side)
      return try SnapshotMemory(pages: store.snapshot())
    }
    let parts = (ram ?? "").split(separator: "@", maxSplits: 1).map(String.init)
    guard parts.count == 2 else { throw ValidationError("--ram needs the file's address: FILE@0x80000000.") }
    return try MappedFileMemory(path: parts[0], base: GPA(number(parts[1])))
  }

  /// The table to start at.
  func table() throws -> TableRoot {
    guard let mode = PagingMode(rawValue: mode.lowercased()) else {
      throw ValidationError("'\(mode)' is not a mode: \(PagingMode.allCases.map(\.rawValue).joined(separator: ", ")).")
    }
    let address = try number(root)
    guard address % 4096 == 0 else {
      throw ValidationError("\(hex(address)) is not the address of a table: those are multiples of 0x1000.")
    }
    return TableRoot(address: GPA(address), mode: mode)
  }
}

/// A number as C writes it: decimal, or hexadecimal with 0x.
func number(_ text: String) throws -> UInt64 {
  let isHexadecimal = text.lowercased().hasPrefix("0x")
  let digits = isHexadecimal ? text.dropFirst(2) : text[...]
  guard digits.allSatisfy(\.isHexDigit), let value = UInt64(digits, radix: isHexadecimal ? 16 : 10) else {
    throw ValidationError("'\(text)' is not an address: write 4294963200 or 0xfffff000.")
  }
  return value
}

/// `iommulens walk`.
struct WalkTable: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "walk", abstract: "Walks for one IOVA, step by step.")
  @Argument(help: "The IOVA.") var iova: String
  @OptionGroup var source: TableSource

  func run() throws {
    let table = try source.table()
    let walk = table.mode.geometry.walk(IOVA(try number(iova)), root: table.address, in: try source.memory())
    print(Terminal.walk(walk, requester: nil))
  }
}

/// `iommulens dump`.
struct DumpTable: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "dump", abstract: "Lists a table's mappings.")
  @OptionGroup var source: TableSource
  @Option(help: "IOVAs of interest: A-B, inclusive.") var iova: String?
  @Option(help: "Flags that a mapping must have: rw.") var flags: String = ""
  @Flag(help: "Entries instead of mappings.") var raw = false

  func run() throws {
    guard let required = PageTableEntry.Flags(letters: flags) else {
      throw ValidationError("'\(flags)' has a letter that is no PTE flag; use those of VRWXUGAD.")
    }
    var filter = DumpFilter(required: required)
    if let iova {
      let iovas = try range(iova)
      (filter.first, filter.last) = (iovas.lowerBound, iovas.upperBound)
    }
    try Terminal.dump(source.table(), memory: source.memory(), filter: filter, raw: raw) { print($0, terminator: "") }
  }
}
