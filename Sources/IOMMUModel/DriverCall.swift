public import PageTables

/// One call of an IOMMU driver's map or unmap function, as its arguments say.
public struct DriverCall: Hashable, Sendable {
  /// What the call asks for.
  public enum Operation: Hashable, Sendable {
    /// Map the range to `target` on. Protection and allocation flags are nil where the call was seen without them.
    case map(target: GPA, protection: Protection?, allocation: AllocationFlags?)
    /// Take the range out.
    case unmap
  }

  /// The driver's function: `xt_iommu_map`.
  public let function: String
  /// What is asked for.
  public let operation: Operation
  /// The domain argument as the function received it; 0 where the call was seen without it, as in a kernel trace.
  public let domain: KVA
  /// Where the range starts.
  public let iova: IOVA
  /// The range's size in bytes.
  public let length: UInt64
  /// The page size and count, where the driver's signature has them (6.x); nil where it has one length.
  public let pages: Pages?

  /// `pgsize` and `pgcount`.
  public struct Pages: Hashable, Sendable {
    /// Bytes a page.
    public let size: UInt64
    /// How many.
    public let count: UInt64

    /// `count` pages of `size` bytes.
    public init(size: UInt64, count: UInt64) {
      self.size = size
      self.count = count
    }
  }

  /// A call with these arguments.
  public init(
    function: String, operation: Operation, domain: KVA, iova: IOVA, length: UInt64, pages: Pages? = nil
  ) {
    self.function = function
    self.operation = operation
    self.domain = domain
    self.iova = iova
    self.length = length
    self.pages = pages
  }

  /// Which kind of call this is.
  public var kind: CallKind { isMap ? .map : .unmap }

  /// Whether this is a map call.
  public var isMap: Bool { target != nil }

  /// Where a map call points; nil for an unmap.
  public var target: GPA? {
    if case .map(let target, _, _) = operation { return target }
    return nil
  }

  /// A map call's protection; nil for an unmap, and for a map call that was seen without it.
  public var protection: Protection? {
    if case .map(_, let protection, _) = operation { return protection }
    return nil
  }

  /// The range's size as the arguments give it: `1 x 4 KiB`.
  public var extent: String { pages.map { "\($0.count) x \(size($0.size))" } ?? size(length) }

  /// The range's last byte; for an empty range its start.
  public var last: IOVA { length == 0 ? iova : iova + (length &- 1) }

  /// Whether the range holds `address`.
  public func covers(_ address: IOVA) -> Bool { address - iova < length }
}

/// Which call a function makes.
public enum CallKind: String, Hashable, Sendable, CaseIterable {
  /// Maps a range.
  case map
  /// Unmaps a range.
  case unmap
}

/// A driver function worth stopping at, with its parameters in the order of the calling convention (RISC-V: a0 first).
public struct DriverFunction: Hashable, Sendable {
  /// The symbol.
  public let symbol: String
  /// What it does.
  public let kind: CallKind
  /// Parameter names as the sources spell them.
  public let parameters: [String]
  /// Those without which a call can still be told: places for results, allocation flags.
  public let optional: Set<String>

  /// A function `symbol` with these parameters.
  public init(symbol: String, kind: CallKind, parameters: [String], optional: Set<String> = []) {
    self.symbol = symbol
    self.kind = kind
    self.parameters = parameters
    self.optional = optional
  }
}

extension DriverFunction {
  /// `arguments` in the order of ``parameters``, by name; an error when there are too few.
  public func named(_ arguments: [UInt64]) throws(TargetError) -> [String: UInt64] {
    guard arguments.count >= parameters.count else {
      throw TargetError("\(symbol) takes \(parameters.count) arguments, but only \(arguments.count) could be read.")
    }
    return Dictionary(zip(parameters, arguments), uniquingKeysWith: { first, _ in first })
  }
}

extension DriverCall {
  /// Reads a call of `function` by its arguments' names; an error when one is missing that is not optional, or when they
  /// describe a range that cannot be.
  ///
  /// The IOVA is called `iova`, a range in pages `pgsize` and `pgcount`, allocation flags `gfp`; how a driver calls the
  /// rest is said by the other parameters, of which the first that is there counts.
  public init(
    of function: DriverFunction, named values: [String: UInt64], domain: [String], target: [String], length: String,
    protection: String
  ) throws(TargetError) {
    for parameter in function.parameters where values[parameter] == nil && !function.optional.contains(parameter) {
      throw TargetError("\(function.symbol) cannot be told without its argument `\(parameter)`.")
    }
    func first(_ names: [String]) -> UInt64 { names.lazy.compactMap { values[$0] }.first ?? 0 }
    let iova = IOVA(values["iova"] ?? 0)
    var pages: Pages?
    var bytes = values[length] ?? 0
    if let size = values["pgsize"], let count = values["pgcount"] {
      pages = Pages(size: size, count: count)
      let (product, overflow) = size.multipliedReportingOverflow(by: count)
      guard !overflow else {
        throw TargetError(
          "\(function.symbol) was asked for \(count) pages of \(hex(size)) bytes at IOVA \(iova): more than 2^64 bytes."
        )
      }
      bytes = product
    }
    // `int prot` and `gfp_t gfp` have 32 bits; the registers' upper halves are not theirs.
    let operation: Operation =
      switch function.kind {
      case .unmap: .unmap
      case .map:
        .map(
          target: GPA(first(target)),
          protection: Protection(rawValue: UInt32(truncatingIfNeeded: values[protection] ?? 0)),
          allocation: values["gfp"].map { AllocationFlags(rawValue: $0 & 0xffff_ffff) })
      }
    self.init(
      function: function.symbol, operation: operation, domain: KVA(first(domain)), iova: iova, length: bytes,
      pages: pages)
  }
}
