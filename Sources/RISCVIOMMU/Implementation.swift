/// An implementation of the specification, as data: its name and where it leaves the specification.
public struct Implementation: Hashable, Sendable {
  /// The name.
  public let name: String
  /// What it does otherwise.
  public let quirks: Set<Quirk>

  /// An implementation.
  public init(name: String, quirks: Set<Quirk>) {
    self.name = name
    self.quirks = quirks
  }

  /// The ratified specification 1.0 to the letter.
  public static let specification = Implementation(name: "RISC-V IOMMU specification 1.0", quirks: [])

  /// QEMU 10.0's `riscv-iommu-sys` and `riscv-iommu-pci`.
  public static let qemu10 = Implementation(name: "QEMU 10.0 riscv-iommu", quirks: Set(Quirk.allCases))

  func has(_ quirk: Quirk) -> Bool { quirks.contains(quirk) }
}

/// One thing that an implementation does otherwise than the specification.
public enum Quirk: String, Hashable, Sendable, CaseIterable {
  /// N of a leaf is ignored.
  case ignoresContiguous
  /// Bits 63:54 of an entry are not looked at.
  case ignoresHighBits
  /// U is not looked at.
  case ignoresUser
  /// A is looked at for reads only, D for writes only.
  case splitsAccessedAndDirty
  /// A, D and U may be set in a pointer.
  case ignoresPointerFlags
  /// Sv32 addresses of more than 32 bits end in a guest-page fault.
  case blamesSecondStage
  /// The second stage must allow more than the access wants.
  case demandsMoreOfSecondStage
  /// There is no big-endian.
  case ignoresByteOrder
  /// Device contexts are checked less.
  case checksContextsLess
  /// The process directory is not translated, and its entries are checked less.
  case readsProcessDirectoryDirectly
  /// Only writes find the MSI page table, whose entries are checked less.
  case redirectsWritesOnly
  /// A probe counts as an ATS request.
  case probesAreATSRequests
  /// Translations are cached until they are invalidated.
  case answersFromCache
  /// The debug interface loses address bits.
  case responseLosesBits
  /// The debug interface tells a fault's cause.
  case responseNamesCause
  /// Fault records say "write" for reads as well.
  case recordsSayWrite
  /// Fault records have a process always.
  case recordsHaveProcess

  /// What it means, as a sentence.
  public var summary: String {
    switch self {
    case .ignoresContiguous:
      "N is ignored: the low page-number bits of a leaf of a 64 KiB group are used as they stand, so that all its pages "
        + "go to the one in the group's middle"
    case .ignoresHighBits:
      "bits 63:54 of an entry are not looked at: reserved bits and PBMT do not fault and become bits of the address"
    case .ignoresUser: "U is not looked at, in either stage"
    case .splitsAccessedAndDirty: "a read needs A and a write needs D: A is not looked at for a write"
    case .ignoresPointerFlags: "A, D and U in a pointer do not fault"
    case .blamesSecondStage: "an Sv32 address of more than 32 bits ends in a guest-page fault instead of a page fault"
    case .demandsMoreOfSecondStage:
      "the second stage must allow an access to a first-stage table as if it were the access itself, and at the end all "
        + "that the first-stage leaf allows"
    case .ignoresByteOrder: "FCTL.BE is not looked at, and SBE makes a device context misconfigured"
    case .checksContextsLess:
      "reserved bits, the second stage's root alignment and SADE and GADE without AMO_HWAD are not checked in a device "
        + "context; reserved first-stage modes above 10 give cause 258"
    case .readsProcessDirectoryDirectly:
      "the process directory is read at the addresses as they stand, without the second stage, and reserved bits of its "
        + "pointers are not checked"
    case .redirectsWritesOnly:
      "only writes are looked up in the MSI page table, of at most 256 entries, and reserved bits of its entries are not "
        + "checked"
    case .probesAreATSRequests: "an access that wants nothing is refused unless the device context has EN_ATS"
    case .answersFromCache:
      "a page that was translated once is answered from a cache, without a walk, until an invalidation names it"
    case .responseLosesBits:
      "TR_RESPONSE holds the page number where the page number << 10 belongs: its lowest 10 bits are lost, and the address is "
        + "known to 4 MiB"
    case .responseNamesCause:
      "TR_RESPONSE has the cause of a fault in its PPN, 256 where no context was found; the specification says nothing of it"
    case .recordsSayWrite:
      "TTYP of a fault record is 3, a write, for reads as well; 2, a read, where no context was found"
    case .recordsHaveProcess: "PV of a fault record is 1 although the access has no process"
    }
  }

  /// Where it was seen: a function of `hw/riscv/riscv-iommu.c` of QEMU 10.0.
  public var source: String {
    switch self {
    case .ignoresContiguous, .ignoresHighBits, .ignoresUser, .splitsAccessedAndDirty, .ignoresPointerFlags,
      .blamesSecondStage, .demandsMoreOfSecondStage:
      "riscv_iommu_spa_fetch"
    case .ignoresByteOrder: "riscv_iommu_ctx_fetch, riscv_iommu_validate_device_ctx"
    case .checksContextsLess: "riscv_iommu_validate_device_ctx, riscv_iommu_ctx_fetch"
    case .readsProcessDirectoryDirectly: "riscv_iommu_ctx_fetch"
    case .redirectsWritesOnly: "riscv_iommu_spa_fetch, riscv_iommu_msi_write"
    case .probesAreATSRequests, .answersFromCache: "riscv_iommu_translate"
    case .responseLosesBits, .responseNamesCause: "riscv_iommu_process_dbg"
    case .recordsSayWrite: "riscv_iommu_translate, riscv_iommu_ctx"
    case .recordsHaveProcess: "riscv_iommu_report_fault"
    }
  }
}
