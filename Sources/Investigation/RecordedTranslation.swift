public import IOMMUModel
public import PageTables

/// Translations that a device really made, as its implementation was watched doing them: one, or a run of equal ones.
///
/// QEMU's `xmmuv1` answers for one byte at a time, so an access of 16 bytes that works is sixteen translations in steps of
/// one byte, and one that fails four, in steps of four. A run keeps them together.
public struct RecordedTranslation: Hashable, Sendable {
  /// What the device returned: QEMU's `IOMMUTLBEntry`.
  public struct Answer: Hashable, Sendable {
    /// `translated_addr`.
    public let address: GPA
    /// `addr_mask`: the bytes that the answer covers, minus one.
    public let mask: UInt64
    /// `perm`; none means that the access was refused.
    public let access: Access

    /// An answer.
    public init(address: GPA, mask: UInt64, access: Access) {
      self.address = address
      self.mask = mask
      self.access = access
    }
  }

  /// Who asked, from the frames above the translation.
  public struct Asker: Hashable, Sendable {
    /// The device model: `e1000e`.
    public let device: String
    /// Its function that made the access: `e1000e_start_xmit`.
    public let operation: String
    /// How it accessed memory: `pci_dma_read`, `address_space_map`.
    public let path: String
    /// The bytes that the whole access is about; nil when it could not be read.
    public let length: UInt64?

    /// An asker.
    public init(device: String, operation: String, path: String, length: UInt64?) {
      self.device = device
      self.operation = operation
      self.path = path
      self.length = length
    }
  }

  /// The event; nil until stored.
  public var id: EventID?
  /// On whose behalf; nil when it could not be read.
  public let requester: RequesterID?
  /// The first address.
  public let iova: IOVA
  /// How many translations follow each other.
  public var count: UInt64
  /// The step from one to the next; 0 for a single one.
  public var stride: UInt64
  /// What was wanted; nil when it could not be read.
  public let access: Access?
  /// What the first one got; the others got the same, `stride` further on. Nil when the return was not seen.
  public let answer: Answer?
  /// The device's state before the first and after the last, by register offset as `DeviceModel.registers` has them.
  public let before: RegisterValues
  /// See ``before``.
  public var after: RegisterValues
  /// Who asked; nil when the frames were not read.
  public let asker: Asker?

  /// A run of translations.
  public init(
    id: EventID? = nil, requester: RequesterID?, iova: IOVA, count: UInt64 = 1, stride: UInt64 = 0, access: Access?,
    answer: Answer?, before: RegisterValues = RegisterValues(), after: RegisterValues = RegisterValues(),
    asker: Asker? = nil
  ) {
    (self.id, self.requester, self.iova, self.count, self.stride) = (id, requester, iova, count, stride)
    (self.access, self.answer, self.before, self.after, self.asker) = (access, answer, before, after, asker)
  }

  /// Whether the device refused it; nil when the return was not seen.
  public var isRefused: Bool? { answer.map { $0.access == .none } }

  /// The last address that was translated.
  public var last: IOVA { iova + stride &* (count &- 1) }
}
