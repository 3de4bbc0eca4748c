import IOMMUModel
import PageTables

/// Why a translation goes no further.
enum Stop: Error, Hashable {
  /// A fault, and what is wrong where the cause does not say it.
  case fault(FaultCause, String?)
  /// A word that could not be read.
  case unreadable(UnreadableMemory)

  /// How the access ends.
  var result: DeviceTranslation.Result {
    switch self {
    case .fault(let cause, _): .refused(cause)
    case .unreadable(let failure): .unreadable(failure)
    }
  }
}

/// What a translation reads on its way, and where it leaves the specification.
struct Trace {
  /// The words of the directories and of the MSI page table, in order.
  var words: [DeviceContext.Word] = []
  /// The entries of the page tables, in order: those of the second stage before the entry whose address they translate.
  var steps: [Walk.Step] = []
  /// See `DeviceTranslation.deviations`.
  var deviations: [String] = []

  /// Adds a sentence once.
  mutating func note(_ deviation: String) {
    if !deviations.contains(deviation) { deviations.append(deviation) }
  }
}

/// Memory as the device reaches it: by addresses of CAPABILITIES.PAS bits.
struct DeviceMemory {
  let memory: any PhysicalMemory
  let addressBits: UInt64

  /// Whether the device can put this address on its bus.
  func reaches(_ address: GPA) -> Bool { address.rawValue >> addressBits == 0 }

  /// The doubleword at `address`; a `fault` where the device does not reach it.
  func word(at address: GPA, isBigEndian: Bool, fault: FaultCause) throws(Stop) -> UInt64 {
    guard reaches(address) else { throw Stop.fault(fault, "\(address) has more than \(addressBits) bits") }
    do throws(UnreadableMemory) {
      let word = try memory.word(at: address)
      return isBigEndian ? word.byteSwapped : word
    } catch { throw Stop.unreadable(error) }
  }

  /// The table entry at `address`.
  func entry(
    at address: GPA, format: PageTableEntry.Format, isBigEndian: Bool, fault: FaultCause
  ) throws(Stop) -> PageTableEntry {
    guard reaches(address) else { throw Stop.fault(fault, "\(address) has more than \(addressBits) bits") }
    do throws(UnreadableMemory) {
      let entry = try memory.entry(at: address, format: format)
      return isBigEndian ? PageTableEntry(swapping: entry) : entry
    } catch { throw Stop.unreadable(error) }
  }
}

extension PageTableEntry {
  /// An entry read little-endian that is big-endian.
  init(swapping entry: PageTableEntry) {
    let raw = entry.rawValue.byteSwapped
    self.init(rawValue: entry.format == .sv32 ? raw >> 32 : raw, format: entry.format)
  }
}
