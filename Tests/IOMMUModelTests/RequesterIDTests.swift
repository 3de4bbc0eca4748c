import IOMMUModel
import Testing

@Suite struct RequesterIDTests {
  @Test func everyRequesterRoundTrips() {
    for rsid in 0..<UInt32(0x1_0000) {
      // Segment 0, and others on the way.
      let requester = RequesterID(rawValue: (rsid % 7 == 0 ? rsid &* 0x9e37 : 0) << 16 | rsid)
      if RequesterID(bdf: requester.description) != requester { Issue.record("\(requester)") }
      if requester.rsid != Int(rsid) { Issue.record("\(requester): \(requester.rsid)") }
    }
  }

  @Test(
    arguments: [
      (0x0, "0000:00:00.0"), (0x8, "0000:00:01.0"), (0xff, "0000:00:1f.7"), (0x1000, "0000:10:00.0"),
      (0xffff, "0000:ff:1f.7"), (0xabcd_1234, "abcd:12:06.4"),
    ] as [(UInt32, String)])
  func prints(_ rawValue: UInt32, _ text: String) {
    #expect(RequesterID(rawValue: rawValue).description == text)
    #expect(RequesterID(bdf: text)?.rawValue == rawValue)
    #expect(RequesterID(bdf: text.uppercased())?.rawValue == rawValue)
  }

  @Test(arguments: ["00:01.0", "0:1.0", "0:0:1.0", "0000:00:01.0"]) func shortForms(_ text: String) {
    #expect(RequesterID(bdf: text) == RequesterID(rawValue: 8))
  }

  @Test(arguments: [
    "", ":", ".", ":.", "::.", "00:01", "01.0", "00:01.8", "00:20.0", "100:01.0", "00:01.0.0", "0:0:0:1.0", "g:1.0",
    "10000:00:01.0", "00:+1.0", "+0:01.0", "-0:01.0", "00:01.-0", " 00:01.0", "00:01.0 ", "00:01.0\n", "00:01,0",
    "000:01.0", "00:001.0", "00:01.00", "00000:00:01.0", ":00:01.0", "0x0:01.0", "００:01.0", "00:01.", "00:.0", "8",
  ]) func badTexts(_ text: String) {
    #expect(RequesterID(bdf: text) == nil)
  }

  @Test func ordersBySegmentBusDeviceFunction() throws {
    let texts = ["0000:00:01.0", "0000:00:01.7", "0000:00:02.0", "0000:01:00.0", "0001:00:00.0"]
    let requesters = try texts.map { try #require(RequesterID(bdf: $0)) }
    #expect(requesters.shuffled().sorted() == requesters)
  }
}
