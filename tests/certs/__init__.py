"""The certificate's keeper: pure decisions, years of simulated time, and the client."""
