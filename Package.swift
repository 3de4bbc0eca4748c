// swift-tools-version: 6.1
import PackageDescription

let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

let package = Package(
  name: "IOMMULens",
  products: [
    .library(name: "PageTables", targets: ["PageTables"]),
    .library(name: "GuestMemory", targets: ["GuestMemory"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
  ],
  targets: [
    .target(name: "PageTables", swiftSettings: strict),
    .testTarget(name: "PageTablesTests", dependencies: ["PageTables"], swiftSettings: strict),
    .target(name: "CProcessMemory"),
    .target(name: "GuestMemory", dependencies: ["PageTables", "CProcessMemory"], swiftSettings: strict),
    .testTarget(name: "GuestMemoryTests", dependencies: ["GuestMemory", "PageTables"], swiftSettings: strict),
  ]
)
