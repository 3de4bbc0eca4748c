public import PageTables

/// A call of Linux's `iommu_get_dma_cookie`: somebody prepares a domain for the DMA layer, which a domain takes only once.
///
/// Linux 5.10 to 6.x `drivers/iommu/dma-iommu.c`: a domain that has a cookie gets -EEXIST, and `__iommu_domain_alloc` (from
/// 5.19) then frees the domain.
public struct CookieRequest: Hashable, Sendable {
  /// The event; nil until stored.
  public var id: EventID?
  /// The domain, as map calls carry it.
  public let domain: KVA
  /// The cookie that it has already; 0 for none, and then the request succeeds.
  public let held: UInt64
  /// The functions above, innermost first.
  public let callers: [String]

  /// A request.
  public init(id: EventID? = nil, domain: KVA, held: UInt64, callers: [String]) {
    (self.id, self.domain, self.held, self.callers) = (id, domain, held, callers)
  }

  /// Whether the domain had a cookie, so that the request failed with -EEXIST.
  public var isSecond: Bool { held != 0 }
}
