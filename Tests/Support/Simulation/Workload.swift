import PageTables
import Randomness

/// What Linux asks of an IOMMU driver while a network card and a guest run, as random calls that can be had again.
package struct Workload: Sendable {
  /// A call of the core's. `domain` counts the domains in the order in which they are made.
  package enum Step: Sendable {
    case map(domain: Int, iova: UInt64, target: UInt64, size: UInt64, count: UInt64, prot: UInt32)
    case unmap(domain: Int, iova: UInt64, size: UInt64, count: UInt64)
  }

  /// What takes part.
  package struct Parts: OptionSet, Sendable {
    package let rawValue: Int
    package init(rawValue: Int) { self.rawValue = rawValue }
    /// A network card: rings, receive buffers, transmit buffers that come and go. IOVAs go down from 0xfffff000.
    package static let card = Parts(rawValue: 1)
    /// A guest whose memory VFIO maps in 4 KiB pages by the hundred, and unmaps in other portions.
    package static let guest = Parts(rawValue: 2)
    /// The same in pages of 2 MiB.
    package static let hugeGuest = Parts(rawValue: 4)
    /// A device whose addresses stay below 1 GiB.
    package static let low = Parts(rawValue: 8)
  }

  /// The calls, in order.
  package private(set) var steps: [Step] = []
  private var numbers: SeededNumbers
  private let domains: Int

  /// A random workload; `domains` are shared out among the parts.
  package init(_ parts: Parts, domains: Int = 2, seed: UInt64) {
    numbers = SeededNumbers(seed: seed)
    self.domains = domains
    if parts.contains(.low) { card(domain: 0, top: 0x3fff_f000) }
    if parts.contains(.card) { card(domain: 0, top: 0xffff_f000) }
    if parts.contains(.guest) { guest(domain: domains - 1) }
    if parts.contains(.hugeGuest) { hugeGuest(domain: domains - 1) }
  }

  private mutating func random(_ range: ClosedRange<UInt64>) -> UInt64 { UInt64.random(in: range, using: &numbers) }

  /// A page of a machine with 8 GiB of RAM from 0x80000000 on.
  private mutating func page(aligned: UInt64 = 1) -> UInt64 {
    (0x8_0000 + random(0...0x1f_ffff)) / aligned * aligned << 12
  }

  /// As e1000e's calls were seen: protections 7 for rings, 6 for receive buffers, 5 for transmit buffers.
  private mutating func card(domain: Int, top: UInt64) {
    var next = top + 4096
    func take(_ pages: UInt64) -> UInt64 {
      next -= pages << 12
      return next
    }
    for _ in 0..<random(2...4) {
      let count: UInt64 = random(0...2) == 0 ? 2 : 1
      steps.append(
        .map(domain: domain, iova: take(count), target: page(), size: 4096, count: count, prot: 7))
    }
    var receive: [UInt64] = []
    for _ in 0..<random(4...10) {
      receive.append(take(1))
      steps.append(.map(domain: domain, iova: receive.last ?? 0, target: page(), size: 4096, count: 1, prot: 6))
    }
    // The allocator hands out what was given back last.
    var free: [UInt64] = []
    var sending: [UInt64] = []
    for _ in 0..<random(8...20) {
      switch random(0...4) {
      case 0...1 where !sending.isEmpty:
        let iova = sending.removeFirst()
        steps.append(.unmap(domain: domain, iova: iova, size: 4096, count: 1))
        free.append(iova)
      case 2:
        // A received packet leaves its buffer, a fresh one takes its place.
        let slot = Int(random(0...UInt64(receive.count - 1)))
        steps.append(.unmap(domain: domain, iova: receive[slot], size: 4096, count: 1))
        free.append(receive[slot])
        receive[slot] = free.count > 1 ? free.removeFirst() : take(1)
        steps.append(.map(domain: domain, iova: receive[slot], target: page(), size: 4096, count: 1, prot: 6))
      default:
        let iova = free.popLast() ?? take(1)
        sending.append(iova)
        steps.append(.map(domain: domain, iova: iova, target: page(), size: 4096, count: 1, prot: 5))
      }
    }
  }

  private mutating func guest(domain: Int) {
    let start = [UInt64(0), 0x1000_0000, 0x5000_0000, 0x8000_0000][Int(random(0...3))]
    var iova = start
    var mapped: [(UInt64, UInt64)] = []
    for _ in 0..<random(2...4) {
      let count = random(2...24)
      steps.append(
        .map(domain: domain, iova: iova, target: page(), size: 4096, count: count, prot: random(0...3) == 0 ? 1 : 3))
      mapped.append((iova, count))
      iova += (count + random(0...4)) << 12
    }
    // Unmapped in two portions, as VFIO does with pages that do not lie next to each other.
    guard random(0...1) == 0, let (first, count) = mapped.first else { return }
    let part = random(1...count - 1)
    steps.append(.unmap(domain: domain, iova: first, size: 4096, count: part))
    if random(0...1) == 0 {
      steps.append(.unmap(domain: domain, iova: first + part << 12, size: 4096, count: count - part))
    }
  }

  private mutating func hugeGuest(domain: Int) {
    var iova: UInt64 = random(0...1) == 0 ? 0x8000_0000 : 0xc000_0000
    let start = iova
    for count in [random(1...2)] + (random(0...1) == 0 ? [1] : []) {
      steps.append(
        .map(domain: domain, iova: iova, target: page(aligned: 512), size: 0x20_0000, count: count, prot: 3))
      iova += count << 21
    }
    steps.append(
      .map(domain: domain, iova: iova, target: page(), size: 4096, count: random(2...8), prot: 3))
    if random(0...1) == 0 { steps.append(.unmap(domain: domain, iova: start, size: 0x20_0000, count: 1)) }
  }
}

extension Recording {
  /// Lets the driver do a workload's calls, from the first on, in these domains.
  package func run(_ steps: some Sequence<Workload.Step>, in domains: [SimulatedDriver.Domain]) {
    for step in steps {
      switch step {
      case .map(let domain, let iova, let target, let size, let count, let prot):
        map(domains[domain], iova, to: target, size: size, count: count, prot: prot)
      case .unmap(let domain, let iova, let size, let count):
        unmap(domains[domain], iova, size: size, count: count)
      }
    }
  }
}
