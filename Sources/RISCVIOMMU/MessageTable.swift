import IOMMUModel
import PageTables

/// The MSI page table of a device context: where writes to a guest's interrupt files go (sections 2.1.3.6 and 2.3.3; entries
/// by the AIA specification 1.0, chapter 9).
struct MessageTable: Hashable, Sendable {
  /// Where it lies.
  let address: GPA
  /// The bits of a guest's page number that tell its interrupt files apart, and the others' values.
  let mask: UInt64, pattern: UInt64
  let isBigEndian: Bool
  /// CAPABILITIES.MSI_MRIF.
  let allowsMemoryFiles: Bool

  /// What an entry says. V 0, M 2:1, C 63 of the first doubleword.
  enum Entry: Hashable, Sendable {
    case invalid
    /// C: of an implementation's own making.
    case custom
    case misconfigured
    /// M 3: the interrupt file at PPN 53:10.
    case basic(GPA)
    /// M 1: a file in memory at bits 53:7 << 2; a notice with number N10 60, N 9:0 goes to NPPN 53:10 of the second doubleword.
    case memoryFile(GPA, notice: GPA, identity: UInt16)

    init(_ first: UInt64, _ second: UInt64, allowsMemoryFiles: Bool, checksReserved: Bool) {
      if first & 1 == 0 {
        self = .invalid
      } else if first >> 63 == 1 {
        self = .custom
      } else {
        switch first >> 1 & 3 {
        case 3:
          let isClean = first & 0x7fc0_0000_0000_03f8 == 0
          self =
            isClean || !checksReserved ? .basic(DeviceContextEntry.address(first >> 10)) : .misconfigured
        case 1:
          let isClean = first & 0x7fc0_0000_0000_0078 == 0 && second & 0xefc0_0000_0000_0000 == 0
          guard allowsMemoryFiles, isClean || !checksReserved else {
            self = .misconfigured
            return
          }
          self = .memoryFile(
            GPA((first >> 7 & 0x7fff_ffff_ffff) << 9), notice: DeviceContextEntry.address(second >> 10),
            identity: UInt16(second >> 60 & 1) << 10 | UInt16(second & 0x3ff))
        default: self = .misconfigured
        }
      }
    }
  }

  /// Whether a guest's address is one of an interrupt file.
  func matches(_ address: UInt64) -> Bool { (address >> 12 ^ pattern) & ~mask & 0xf_ffff_ffff_ffff == 0 }

  /// The pages from `address` on that are known not to be interrupt files, at least one, when it is none itself: those that
  /// share the highest bit by which it differs.
  func pagesWithout(_ address: UInt64) -> UInt64 {
    let difference = (address >> 12 ^ pattern) & ~mask & 0xf_ffff_ffff_ffff
    guard difference != 0 else { return 1 }
    return StageWalker.pages(from: address, toMultipleOf: UInt64(75 - difference.leadingZeroBitCount))
  }

  /// The number of the interrupt file at `address`: the masked bits of its page number, packed.
  func fileNumber(_ address: UInt64) -> UInt64 {
    var (number, position) = (UInt64(0), UInt64(0))
    var rest = mask
    while rest != 0 {
      let bit = UInt64(rest.trailingZeroBitCount)
      number |= ((address >> (bit + 12)) & 1) << position
      position += 1
      rest &= rest &- 1
    }
    return number
  }

  /// Where an access to a guest's interrupt file goes. In a file in memory an access is no access to a byte: it sets the bit
  /// of the message's number.
  func translate(
    _ guest: UInt64, need: Need, memory: DeviceMemory, implementation: Implementation, trace: inout Trace
  ) throws(Stop) -> GPA {
    let checksLess = implementation.has(.redirectsWritesOnly)
    let number = fileNumber(guest)
    if checksLess && number >= 256 {
      trace.note("interrupt file \(number) is refused: the MSI page table ends at 256 entries")
      throw Stop.fault(RISCVIOMMUFault.messageAccess, nil)
    }
    let place = GPA(address.rawValue | number &<< 4)
    var words: [UInt64] = []
    for index in 0..<2 as Range<UInt64> {
      let word = try memory.word(
        at: place + index * 8, isBigEndian: isBigEndian, fault: RISCVIOMMUFault.messageAccess)
      trace.words.append(DeviceContext.Word(name: "MSI PTE[\(index)]", address: place + index * 8, value: word))
      words.append(word)
    }
    let strict = Entry(words[0], words[1], allowsMemoryFiles: allowsMemoryFiles, checksReserved: true)
    let entry =
      checksLess
      ? Entry(words[0], words[1], allowsMemoryFiles: true, checksReserved: false) : strict
    if entry != strict { trace.note("the MSI PTE is used although misconfigured") }
    switch entry {
    case .invalid: throw Stop.fault(RISCVIOMMUFault.messageInvalid, nil)
    case .misconfigured: throw Stop.fault(RISCVIOMMUFault.messageMisconfigured, nil)
    case .custom:
      if checksLess { throw Stop.fault(RISCVIOMMUFault.messageInvalid, nil) }
      throw Stop.unreadable(
        UnreadableMemory(address: place, reason: "an MSI PTE of the device's own format", isUnrecorded: true))
    case .basic(let page):
      if need.contains(.execute) { throw Stop.fault(RISCVIOMMUFault.cause(.access, need), nil) }
      return page + (guest & 0xfff)
    case .memoryFile(let file, _, _):
      if need.contains(.execute) { throw Stop.fault(RISCVIOMMUFault.cause(.access, need), nil) }
      return file
    }
  }
}
