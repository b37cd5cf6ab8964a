"""What tests share: clients, servers, programs, waiting. Nothing here is a test."""
