import IOMMUModel
import PageTables

/// One stage of page tables, walked for single addresses and for runs of them.
///
/// A walk that comes to a leaf table is remembered up to there: its neighbours differ in the leaf table's entry only. The
/// tables must not change while it is used.
final class StageWalker {
  /// Where a walk ends.
  struct Leaf {
    let target: UInt64
    let flags: PageTableEntry.Flags
  }

  /// Pages that end alike, see `DeviceRun`.
  struct Run {
    let pages: UInt64
    let end: Result<Leaf, Stop>
    let last: Walk.Step?
  }

  /// A walk up to the leaf table.
  private struct Prefix {
    /// What the addresses have in common, without the bits that the leaf table translates.
    let bits: UInt64
    let table: GPA
    let bytes: UnsafeRawPointer
  }

  let root: TableRoot
  let rules: EntryRules
  private let memory: DeviceMemory
  /// The second stage, through which a first stage's tables are reached; nil for tables at physical addresses.
  private let under: StageWalker?
  private let geometry: TableGeometry
  private let blamesSecondStage, demandsMore, setsBits: Bool
  private var prefix: Prefix?
  // Of the last walk: the level that it came to, and where its table lies.
  private var endLevel = 0
  private var endPlace = GPA(0)
  private var hasReadEntry = false

  init(
    root: TableRoot, rules: EntryRules, memory: DeviceMemory, under: StageWalker?, implementation: Implementation,
    setsBits: Bool
  ) {
    (self.root, self.rules, self.memory, self.under) = (root, rules, memory, under)
    self.setsBits = setsBits
    geometry = root.mode.geometry
    blamesSecondStage = implementation.has(.blamesSecondStage)
    demandsMore = implementation.has(.demandsMoreOfSecondStage)
  }

  private var isSecondStage: Bool { root.mode.isSecondStage }

  /// A fault of this stage for an access that wants `need`.
  private func fault(_ need: Need) -> Stop {
    .fault(RISCVIOMMUFault.cause(isSecondStage ? .guestPage : .page, need), nil)
  }

  /// Walks for `input`. `need` is what the leaf has to allow, `original` what the access wants: faults are of its type.
  func walk(_ input: UInt64, need: Need, original: Need, trace: inout Trace) throws(Stop) -> Leaf {
    endLevel = root.mode.levels
    hasReadEntry = false
    guard geometry.isCanonical(IOVA(input)) else {
      if blamesSecondStage && root.mode == .sv32 {
        trace.note("an address of more than 32 bits ends in a guest-page fault")
        throw Stop.fault(RISCVIOMMUFault.cause(.guestPage, original), nil)
      }
      throw fault(original)
    }
    var table = root.address
    for level in stride(from: geometry.rootLevel, through: 0, by: -1) {
      endLevel = level
      hasReadEntry = false
      let index = geometry.index(of: IOVA(input), atLevel: level)
      let address = geometry.entryAddress(table: table, index: index)
      let place = try place(of: address, original: original, trace: &trace)
      let entry = try memory.entry(
        at: place, format: root.mode.entryFormat, isBigEndian: rules.isBigEndian,
        fault: RISCVIOMMUFault.cause(.access, original))
      trace.steps.append(Walk.Step(level: level, table: table, index: index, entryAddress: address, entry: entry))
      (hasReadEntry, endPlace) = (true, place)
      for sentence in rules.deviations(entry, level: level, need: need) { trace.note(sentence) }
      switch rules.judge(entry, level: level, need: need) {
      case .pointer(let next): table = next
      case .leaf(let page, let size):
        if setsBits, let under, rules.wantsUpdate(entry.flags, need) {
          _ = try under.walk(address.rawValue, need: [.read, .write], original: original, trace: &trace)
        }
        return Leaf(target: page | input & (size &- 1), flags: entry.flags)
      case .fault: throw fault(original)
      }
    }
    throw fault(original)
  }

  /// Where the entry at `address` lies, through the second stage.
  private func place(of address: GPA, original: Need, trace: inout Trace) throws(Stop) -> GPA {
    guard let under else { return address }
    guard demandsMore else {
      return GPA(try under.walk(address.rawValue, need: .read, original: original, trace: &trace).target)
    }
    do throws(Stop) {
      return GPA(try under.walk(address.rawValue, need: original, original: original, trace: &trace).target)
    } catch {
      var scratch = Trace()
      if (try? under.walk(address.rawValue, need: .read, original: original, trace: &scratch)) != nil {
        trace.note("the second stage must allow an access to a first-stage table as if it were the access itself")
      }
      throw error
    }
  }

  /// The page at `input` and those behind it, as far as they end alike and at most `limit`.
  func run(at input: UInt64, need: Need, limit: UInt64) -> Run {
    if let found = leaves(input, need, limit) { return found }
    var trace = Trace()
    let end: Result<Leaf, Stop>
    do throws(Stop) {
      end = .success(try walk(input, need: need, original: need, trace: &trace))
    } catch { end = .failure(error) }
    remember(input, trace.steps.last)
    return Run(pages: min(limit, pagesAlike(input)), end: end, last: trace.steps.last)
  }

  /// How many pages from `input` on lead to the entry that the last walk ended at.
  private func pagesAlike(_ input: UInt64) -> UInt64 {
    // Beyond the mode's input: the bits that make it so are common to a block as large as the input, or half of it where
    // the upper half is sign-extended.
    let shift =
      endLevel < root.mode.levels ? root.mode.shift(atLevel: endLevel) : root.mode.inputBits - 1
    return Self.pages(from: input, toMultipleOf: UInt64(shift))
  }

  /// The pages from `input` to the next multiple of 2^`shift`.
  static func pages(from input: UInt64, toMultipleOf shift: UInt64) -> UInt64 {
    let size: UInt64 = 1 << shift
    return (size &- input & (size &- 1) &+ 0xfff) >> 12
  }

  private func remember(_ input: UInt64, _ last: Walk.Step?) {
    prefix = nil
    guard endLevel == 0, hasReadEntry, let last, !(setsBits && under != nil) else { return }
    guard let bytes = memory.memory.residentPage(endPlace.page) else { return }
    prefix = Prefix(bits: input >> UInt64(root.mode.shift(atLevel: 1)), table: last.table, bytes: bytes)
  }

  /// The pages from `input` on in the leaf table of the last walk; nil when that is not theirs or not at hand.
  private func leaves(_ input: UInt64, _ need: Need, _ limit: UInt64) -> Run? {
    guard let prefix, prefix.bits == input >> UInt64(root.mode.shift(atLevel: 1)) else { return nil }
    let entries = 4096 >> root.mode.entryFormat.bytes_lg2
    let index = Int(truncatingIfNeeded: input >> 12) & (entries - 1)
    let first = entry(prefix.bytes, index)
    let end = index + Int(truncatingIfNeeded: min(limit, UInt64(entries - index)))
    var next = index + 1
    let result: Result<Leaf, Stop>
    switch rules.judge(first, level: 0, need: need) {
    case .leaf(let page, let size):
      result = .success(Leaf(target: page | input & (size &- 1), flags: first.flags))
      // Consecutive pages with the same bits beside the page number, which must not carry into them.
      let pageNumbers: UInt64 = root.mode.entryFormat == .sv32 ? 1 << 22 : 1 << 44
      let bound = min(end, index + Int(truncatingIfNeeded: min(pageNumbers - first.ppn, 1024)))
      if size == 0x10000 {
        while next < bound,
          entry(prefix.bytes, next).rawValue == first.rawValue &+ UInt64(next >> 4 - index >> 4) &* 0x4000
        { next += 1 }
      } else {
        while next < bound, entry(prefix.bytes, next).rawValue == first.rawValue &+ UInt64(next - index) &* 0x400 {
          next += 1
        }
      }
    case .pointer, .fault:
      result = .failure(fault(need))
      if !first.isValid { while next < end, !entry(prefix.bytes, next).isValid { next += 1 } }
    }
    let step = Walk.Step(
      level: 0, table: prefix.table, index: index,
      entryAddress: prefix.table + UInt64(index) << UInt64(root.mode.entryFormat.bytes_lg2), entry: first)
    return Run(pages: UInt64(next - index), end: result, last: step)
  }

  private func entry(_ bytes: UnsafeRawPointer, _ index: Int) -> PageTableEntry {
    let entry: PageTableEntry
    switch root.mode.entryFormat {
    case .rv64:
      entry = PageTableEntry(
        rawValue: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index &* 8, as: UInt64.self)))
    case .sv32:
      entry = PageTableEntry(
        rawValue: UInt64(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: index &* 4, as: UInt32.self))),
        format: .sv32)
    }
    return rules.isBigEndian ? PageTableEntry(swapping: entry) : entry
  }
}
