import Investigation
import PageTables

/// Finds a request for a DMA cookie in a backtrace: Linux 5.10 to 6.x, `iommu_get_dma_cookie(domain)`.
enum CookieReader {
  /// What a backtrace with that function gave.
  enum Result {
    /// The request.
    case request(CookieRequest)
    /// Why it cannot be told: a sentence.
    case refused(String)
  }

  /// Lines after the backtrace in which the domain is looked for.
  private static let reach = 16

  /// The request in `trace`, with what is printed of its domain right after it; nil when it is of something else.
  static func read(_ trace: Backtrace, of text: TextLines) -> Result? {
    guard let frame = trace.frames.first, frame.function == "iommu_get_dma_cookie" else { return nil }
    guard let domain = frame.number("domain") else {
      return .refused("iommu_get_dma_cookie cannot be recorded because `domain` is not known there.")
    }
    for index in trace.lines.upperBound..<trace.lines.upperBound + reach {
      let line = text[index]
      if Frame.start(line) != nil { break }
      if let held = cookie(line) {
        return .request(CookieRequest(domain: KVA(domain), held: held, callers: trace.callers(of: 0)))
      }
    }
    return .refused(
      "iommu_get_dma_cookie cannot be recorded because the cookie that the domain holds is not printed after it: "
        + "`p domain->iova_cookie`.")
  }

  /// `… iova_cookie = 0x0}` or `(struct iommu_dma_cookie *) 0x0`.
  private static func cookie(_ line: ArraySlice<UInt8>) -> UInt64? {
    for words in ["iova_cookie = ", "(struct iommu_dma_cookie *) "] {
      var scanner = Scanner(line)
      if scanner.skip(past: words) { return scanner.number() }
    }
    return nil
  }
}
