import PageTables

/// What one stage makes of its entries: the privileged specification's rules (1.12, sections 4.3.2 and 8.5.1, chapters 5 and
/// 6) as section 2.3 of the IOMMU's applies them to an access, changed by an implementation's quirks.
struct EntryRules {
  /// Whose pages an access may reach.
  enum Privilege: Hashable {
    /// Those with U. All accesses without a process are like this, and all in the second stage.
    case user
    /// Those without U.
    case supervisor
    /// Both; instructions from those without U only (SUM).
    case supervisorAndUser
  }

  /// What an entry comes to.
  enum Judgement: Hashable {
    /// On to this table.
    case pointer(GPA)
    /// A leaf of `size` bytes from `page` on.
    case leaf(page: UInt64, size: UInt64)
    case fault
  }

  let mode: PagingMode
  let isBigEndian: Bool
  let privilege: Privilege
  /// Svpbmt.
  let hasMemoryTypes: Bool
  /// SADE or GADE: A and D need not be set.
  let updates: Bool

  // Quirks, see ``Quirk``.
  private let ignoresContiguous, ignoresHighBits, ignoresUser, splitsAccessedAndDirty, ignoresPointerFlags: Bool
  private let followsSpecification: Bool

  init(
    mode: PagingMode, isBigEndian: Bool, privilege: Privilege, hasMemoryTypes: Bool, updates: Bool,
    implementation: Implementation
  ) {
    (self.mode, self.isBigEndian, self.privilege) = (mode, isBigEndian, privilege)
    (self.hasMemoryTypes, self.updates) = (hasMemoryTypes, updates)
    followsSpecification = implementation.quirks.isEmpty
    ignoresContiguous = implementation.has(.ignoresContiguous)
    ignoresHighBits = implementation.has(.ignoresHighBits)
    ignoresUser = implementation.has(.ignoresUser)
    splitsAccessedAndDirty = implementation.has(.splitsAccessedAndDirty)
    ignoresPointerFlags = implementation.has(.ignoresPointerFlags)
  }

  /// The entry without the bits that the implementation does not look at.
  private func seen(_ entry: PageTableEntry) -> PageTableEntry {
    var raw = entry.rawValue
    if entry.format == .rv64 {
      if ignoresContiguous { raw &= ~(1 << 63) }
      if ignoresHighBits { raw &= ~0x7fc0_0000_0000_0000 }
    }
    if ignoresPointerFlags && entry.isPointer { raw &= ~0xd0 }
    return PageTableEntry(rawValue: raw, format: entry.format)
  }

  /// The address that an entry names. Bits above the page number that are not looked at become bits of it.
  private func address(_ entry: PageTableEntry) -> UInt64 {
    ignoresHighBits ? (entry.rawValue >> 10) << 12 : entry.address.rawValue
  }

  /// What an access that needs `need` makes of `entry`.
  func judge(_ entry: PageTableEntry, level: Int, need: Need) -> Judgement {
    let seen = seen(entry)
    guard seen.isValid, seen.problem(atLevel: level) == nil, hasMemoryTypes || seen.pbmt == 0 else { return .fault }
    if seen.isPointer { return .pointer(GPA(address(entry))) }
    guard permits(seen.flags, need) else { return .fault }
    let size: UInt64 = seen.isContiguous ? 0x10000 : 1 << UInt64(mode.shift(atLevel: level))
    return .leaf(page: address(entry) & ~(size &- 1), size: size)
  }

  private func permits(_ flags: PageTableEntry.Flags, _ need: Need) -> Bool {
    if need.contains(.read) && !flags.contains(.read) { return false }
    if need.contains(.write) && !flags.contains(.write) { return false }
    if need.contains(.execute) && !flags.contains(.execute) { return false }
    if !ignoresUser && !reaches(flags, need) { return false }
    if updates { return true }
    if splitsAccessedAndDirty {
      return (flags.contains(.accessed) || need.isDisjoint(with: [.read, .execute]))
        && (flags.contains(.dirty) || !need.contains(.write))
    }
    return flags.contains(.accessed) && (flags.contains(.dirty) || !need.contains(.write))
  }

  private func reaches(_ flags: PageTableEntry.Flags, _ need: Need) -> Bool {
    switch privilege {
    case .user: flags.contains(.user)
    case .supervisor: !flags.contains(.user)
    case .supervisorAndUser: !flags.contains(.user) || !need.contains(.execute)
    }
  }

  /// Whether the device would have to set A or D of a leaf that it uses.
  func wantsUpdate(_ flags: PageTableEntry.Flags, _ need: Need) -> Bool {
    updates && (!flags.contains(.accessed) || need.contains(.write) && !flags.contains(.dirty))
  }

  /// Where the implementation leaves the specification at an entry that it uses, a sentence each.
  func deviations(_ entry: PageTableEntry, level: Int, need: Need) -> [String] {
    if followsSpecification { return [] }
    let actual = judge(entry, level: level, need: need)
    if actual == .fault { return [] }
    var sentences: [String] = []
    if let problem = entry.problem(atLevel: level) {
      sentences.append("the entry at level \(level) is used although malformed: \(problem)")
    } else if entry.pbmt != 0 && !hasMemoryTypes {
      sentences.append("the entry at level \(level) is used although it has a PBMT, which the device does not support")
    } else if case .leaf(let page, let size) = actual, size == 4096, entry.isContiguous {
      sentences.append(
        "N in the leaf at level \(level) is ignored: it sends all pages of its group to \(GPA(page)), not each to its own"
      )
    } else if entry.pbmt != 0 {
      sentences.append("PBMT in the entry at level \(level) is ignored and becomes a bit of the address")
    }
    guard entry.isLeaf else { return sentences }
    if !reaches(entry.flags, need) {
      sentences.append(
        "U is \(entry.flags.contains(.user) ? "set" : "not set") in the leaf at level \(level), which is not looked at")
    }
    if !updates && !entry.flags.contains(.accessed) {
      sentences.append("A is not set in the leaf at level \(level), which is not looked at for this access")
    }
    return sentences
  }
}
